"""Faults of the networks and of weight decay."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "batch norm of the decoder uses moving averages in training",
        change(
            "dvae.model:DVAE.terms",
            "self.decoder.outputs(encoding.relaxed, training)",
            "self.decoder.outputs(encoding.relaxed, False)",
        ),
        *one_step("dvaepp_exp-1-1", "dvaes_exp-2-5"),
    ),
    fault(
        "batch norm of the encoder uses moving averages in training",
        change(
            "dvae.model:DVAE.forward",
            "num_samples or self.config.k, key, training)",
            "num_samples or self.config.k, key, False)",
        ),
        *one_step("dvaepp_exp-1-1", "dvaes_exp-2-5"),
    ),
    fault(
        "batch norm of the first group alone uses moving averages in training",
        change("dvae.encoder:Encoder.group_params", "products[0], training", "products[0], False"),
        *one_step("dvaes_gauss-2-5"),
    ),
    fault(
        "batch norm uses batch statistics in evaluation",
        change("dvae.networks:Network.finish", "training=training", "training=True"),
        "dvae/test_networks.py::TestNetwork::test_evaluation_mode",
    ),
    fault(
        "batch norm of later groups is of one sample of each image",
        change(
            "dvae.encoder:Encoder.group_params",
            "output = network.finish(first, training)",
            "output = tf.repeat(network.finish(first[::num_samples], training), num_samples, 0)",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "relu instead of tanh",
        change("dvae.networks:Network.finish", "tf.tanh", "tf.nn.relu"),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "tanh before batch norm",
        change(
            "dvae.networks:Network.finish",
            "norm(hidden, training=training)",
            "norm(tf.tanh(hidden), training=training)",
            "dense(tf.tanh(normalized))",
            "dense(normalized)",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "the last layer has no bias",
        change("dvae.networks:Network.finish", "hidden + self.bias", "hidden + 0.0 * self.bias"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay leaves out the first layers",
        change("dvae.networks:Network.decayed_variables", "(*self.first, *self.rest)", "self.rest"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay leaves out the scales of batch norm",
        change(
            "dvae.networks:Network.decayed_variables",
            "[*kernels, *(norm.gamma for norm in self.norms)]",
            "kernels",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay on the offsets of batch norm",
        change("dvae.networks:Network.decayed_variables", "norm.gamma for", "norm.beta for"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay leaves out the couplings",
        change("dvae.priors:RBMPrior.decayed_variables", "[self.coupling]", "[]"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay on the prior's biases",
        change(
            "dvae.priors:RBMPrior.decayed_variables",
            "[self.coupling]",
            "[self.coupling, self.left_bias]",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay is ten times smaller",
        constant("configs.paper:WEIGHT_DECAY", 1e-5),
        "configs/test_constants.py::test_constant[WEIGHT_DECAY]",
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "weight decay is twice the gradient of the penalty",
        change("dvae.model:DVAE.weight_decay_gradients", "rate * tf", "2.0 * rate * tf"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the encoder's part of weight decay is left out",
        change(
            "dvae.model:DVAE.weight_decay_rates",
            "(self.encoder, self.decoder, self.prior)",
            "(self.decoder, self.prior)",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "initial weights have another spread",
        constant("configs.paper:KERNEL_INIT_GAIN", 2.0),
        "configs/test_constants.py::test_constant[KERNEL_INIT_GAIN]",
    ),
)
