"""Faults that real projects of this field shipped, whoever it was named with each."""

import numpy as np
import tensorflow as tf

from dvae import kl, likelihood
from dvae.evaluation import Evaluator, reduce_images
from dvae.runs import loop
from dvae.runs.checkpoints import Saver
from samplers import ais, counter_random, gibbs, population_annealing
from samplers.diagnostics import log_mean_exp
from samplers.rbm import Chains
from tests.faults import Patch, fault


def right_from_old_left(patch: Patch) -> None:
    """Both halves are drawn from the old state at once: their means are right, not their joint."""

    def sweeps(rbm, chains, key, num_sweeps, inverse_temperature=1.0, concurrent=True):
        scale = tf.cast(inverse_temperature, rbm.coupling.dtype)

        def body(step, left, right):
            field = rbm.left_bias + tf.matmul(right, rbm.coupling, transpose_b=True)
            new_left = counter_random.bernoulli_logits(key, scale * field, 2 * step)
            field = rbm.right_bias + tf.matmul(left, rbm.coupling)
            return (
                step + 1,
                new_left,
                counter_random.bernoulli_logits(key, scale * field, 2 * step + 1),
            )

        start = (tf.constant(0), chains.left, chains.right)
        return Chains(*tf.while_loop(lambda step, *_: step < num_sweeps, body, start)[1:])

    patch.setattr(gibbs, "sweeps", sweeps)


def sweep_before_weight(patch: Patch) -> None:
    """AIS moves a state to the new temperature before it weights it."""
    right_order = ais._log_weight_and_sweep

    def wrong_order(rbm, base, left, old, new, key):
        _, swept = right_order(rbm, base, left, old, new, key)
        increment, _ = right_order(rbm, base, swept, old, new, key)
        return increment, swept

    patch.setattr(ais, "_log_weight_and_sweep", wrong_order)


def mean_over_temperatures(patch: Patch) -> None:
    """The sum of the weights is divided by the number of temperatures, not of chains."""
    correct = ais.log_partition_estimate

    def estimate(rbm, base, key, num_chains=1024, num_temperatures=1000):
        result = correct(rbm, base, key, num_chains, num_temperatures)
        return result._replace(value=result.value + np.log(num_chains / num_temperatures))

    patch.setattr(ais, "log_partition_estimate", estimate)


def sign_of_temperature_step(patch: Patch) -> None:
    """The biases' part of the weight has the wrong sign: nothing where base and RBM agree in it."""
    correct = ais._log_weight_and_sweep

    def wrong_sign(rbm, base, left, old, new, key):
        increment, swept = correct(rbm, base, left, old, new, key)
        bias = tf.linalg.matvec(left, rbm.left_bias - base.left_bias)
        return increment - 2.0 * (new - old) * bias, swept

    patch.setattr(ais, "_log_weight_and_sweep", wrong_sign)


def log_z_forgets_weights(patch: Patch) -> None:
    """log Z grows by the plain mean of new weights; right only after a resampling."""
    correct = population_annealing._reweight

    def forgetful(state, change, key, threshold):
        new, ess, resampled = correct(state, change, key, threshold)
        wrong = state.log_partition + tf.cast(log_mean_exp(change), tf.float64)
        return new._replace(log_partition=wrong), ess, resampled

    patch.setattr(population_annealing, "_reweight", forgetful)


def entropy_averaged(patch: Patch) -> None:
    """The entropy is averaged over units where every other term is summed."""
    correct = kl.negative_entropy
    patch.setattr(kl, "negative_entropy", lambda x: correct(x) / float(x.shape[-1]))


def likelihood_averaged(patch: Patch) -> None:
    """log p(x|z) is averaged over pixels."""
    correct = likelihood.Bernoulli.log_prob

    def averaged(self, images, outputs):
        return correct(self, images, outputs) / float(images.shape[-1])

    patch.setattr(likelihood.Bernoulli, "log_prob", averaged)


def resume_reuses_first_seed(patch: Patch) -> None:
    """A resumed run draws its batches as if it were at its first step."""
    correct, restore, resumed_at = loop.call_indices, Saver.restore, [0]

    def remembering(saver):
        progress = restore(saver)
        resumed_at[0] = progress.step if progress else 0
        return progress

    def call_indices(num_images, batch_size, seed, first_step, *counts):
        return correct(num_images, batch_size, seed, first_step - resumed_at[0], *counts)

    patch.setattr(Saver, "restore", remembering)
    patch.setattr(loop, "call_indices", call_indices)


def short_batch_weighs_as_much(patch: Patch) -> None:
    """The likelihood is the mean over batches of their means."""

    def likelihood(self, images, num_samples, batch_size, key, progress=lambda _: None):
        per_image = self.per_image(images, num_samples, batch_size, key, progress)
        parts = [
            reduce_images(
                type(per_image)(*(column[start : start + batch_size] for column in per_image))
            )
            for start in range(0, len(images), batch_size)
        ]
        return parts[0]._replace(
            nll=np.mean([part.nll for part in parts]),
            neg_elbo=np.mean([part.neg_elbo for part in parts]),
            num_images=len(images),
        )

    patch.setattr(Evaluator, "likelihood", likelihood)


FAULTS = (
    fault(
        "the right half is drawn from the old left half (rbms)",
        right_from_old_left,
        "samplers/test_pcd.py::test_exact_samples_stay_exact[1]",
        "samplers/test_gibbs.py::test_stationary_moments[20000-dtype0]",
    ),
    fault(
        "AIS sweeps before it weights (rbms)",
        sweep_before_weight,
        "samplers/test_ais.py::test_forward_is_unbiased[uniform]",
        "samplers/test_ais.py::test_reverse_from_exact_samples_is_unbiased[arbitrary]",
    ),
    fault(
        "AIS divides by the number of temperatures (TFP)",
        mean_over_temperatures,
        "samplers/test_ais.py::test_estimate",
    ),
    fault(
        "the biases' part of AIS's weight has the wrong sign (blackjax)",
        sign_of_temperature_step,
        "samplers/test_ais.py::test_forward_is_unbiased[uniform]",
    ),
    fault(
        "log Z grows by the plain mean of new weights (several SMC libraries)",
        log_z_forgets_weights,
        "samplers/test_population_annealing.py::test_log_partition_is_unbiased[never]",
        "samplers/test_population_annealing.py::test_log_partition_is_unbiased[by ESS]",
    ),
    fault(
        "the entropy is averaged over units (dwave plugin and others)",
        entropy_averaged,
        "dvae/test_kl.py::TestFactorial::test_value_and_gradient",
    ),
    fault(
        "log p(x|z) is averaged over pixels (dwave plugin and others)",
        likelihood_averaged,
        "dvae/test_likelihood.py::test_training_and_evaluation_agree[bernoulli]",
    ),
    fault(
        "a resumed run draws its batches from the first on (nanoGPT)",
        resume_reuses_first_seed,
        "runs/test_resume.py::test_four_steps_are_two_saved_restored_and_two[weights carried]",
    ),
    fault(
        "a short last batch weighs as much as a full one (DisARM)",
        short_batch_weighs_as_much,
        "dvae/test_evaluation.py::TestDeterministic::test_batches[700-4]",
    ),
)
