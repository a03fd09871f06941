"""The hierarchical encoder q(z | x) = Π_l q(z_l | x, earlier groups), and its relaxation."""

from typing import NamedTuple

import keras
import tensorflow as tf

from configs.paper import Structure
from dvae.likelihood import log_bernoulli
from dvae.networks import Network, layer_seed
from dvae.posteriors import Posterior, PosteriorParams, concat
from samplers import counter_random


class Encoding(NamedTuple):
    """Latents of N = B*K rows; row b*K + k is sample k of image b.

    relaxed: [N, D] relaxed latents ζ, groups side by side.
    params: parameters of their posterior, [N, D] each.
    log_q: [N] log q(ζ | x) in nats, summed over units; None where ζ has no density.
    """

    relaxed: tf.Tensor
    params: PosteriorParams
    log_q: tf.Tensor | None = None


def with_log_density(posterior: Posterior, relaxed: tf.Tensor, params: PosteriorParams) -> Encoding:
    """Relaxed latents [N, D] as an `Encoding`, with their log density under the posterior."""
    log_density = posterior.log_density(relaxed, params)
    log_q = None if log_density is None else tf.reduce_sum(log_density, axis=1)
    return Encoding(relaxed, params, log_q)


class BinarySample(NamedTuple):
    """Binary latents [N, D], their log q(z | x) [N] in nats, and the logits [N, D] behind both."""

    latents: tf.Tensor
    log_q: tf.Tensor
    logits: tf.Tensor


class Encoder(keras.layers.Layer):
    """One network per group; group l sees x - mean_x and the latents of groups before it."""

    # Samples of an image that a pass of the evaluation should take, if it takes as many.
    samples_per_pass = 1

    def __init__(
        self, structure: Structure, train_mean: tf.Tensor, posterior: Posterior, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        self.posterior = posterior
        self._mean = tf.constant(train_mean, tf.float32)
        units = structure.units_per_group
        hidden = [structure.hidden_units] * structure.num_hidden_layers
        self.networks = [
            Network(
                [len(train_mean), *([units] * group)],
                hidden,
                units * posterior.outputs_per_unit,
                layer_seed(seed, 1, group),
            )
            for group in range(structure.num_groups)
        ]

    def image_products(self, images: tf.Tensor) -> list[tf.Tensor]:
        """What the images [B, X] (0/1) give to each group's first layer, [B, H] each."""
        centered = images - self._mean
        return [network.product(0, centered) for network in self.networks]

    def group_params(
        self,
        products: list[tf.Tensor],
        group: int,
        earlier: list[tf.Tensor],
        num_samples: int,
        training: bool,
    ) -> PosteriorParams:
        """Parameters of one group given the latents of the earlier ones, [B*K, d]."""
        network = self.networks[group]
        if group == 0:
            # Equal rows have the batch statistics of one of them: compute once, then repeat.
            output = network.finish(products[0], training)
            output = tf.repeat(output, num_samples, axis=0)
        else:
            first = tf.repeat(products[group], num_samples, axis=0)
            for part, latents in enumerate(earlier, start=1):
                first += network.product(part, latents)
            output = network.finish(first, training)
        return self.posterior.split(output, group)

    def sample(
        self, images: tf.Tensor, num_samples: int, key: tf.Tensor, training: bool
    ) -> Encoding:
        """K relaxed samples per image, with gradients.

        Args:
          images: [B, X], 0/1.
          num_samples: K.
          key: int32 [2].
          training: batch statistics (and moving their averages), or the averages.

        Returns:
          Encoding of B*K rows.
        """
        products = self.image_products(images)
        groups: list[PosteriorParams] = []
        relaxed: list[tf.Tensor] = []
        for group in range(len(self.networks)):
            params = self.group_params(products, group, relaxed, num_samples, training)
            groups.append(params)
            relaxed.append(self.posterior.sample(params, counter_random.fold_in(key, group)))
        return with_log_density(self.posterior, tf.concat(relaxed, axis=1), concat(groups))

    def params_at(self, images: tf.Tensor, latents: tf.Tensor, training: bool) -> PosteriorParams:
        """Parameters [B*K, D] of q at given latents [B*K, D] of images [B, X] (0/1)."""
        products = self.image_products(images)
        num_samples = latents.shape[0] // images.shape[0]
        earlier = tf.split(latents, len(self.networks), axis=1)
        return concat(
            [
                self.group_params(products, group, earlier[:group], num_samples, training)
                for group in range(len(self.networks))
            ]
        )

    def sample_binary(
        self, products: list[tf.Tensor], num_samples: int, key: tf.Tensor
    ) -> BinarySample:
        """K binary samples per image from the unrelaxed posterior, for evaluation.

        Args:
          products: of `image_products`, computed once for any number of samples.
          num_samples: K.
          key: int32 [2], or [B*K, 2]: one for each row.

        Returns:
          BinarySample of B*K rows, log q summed over groups.
        """
        binary: list[tf.Tensor] = []
        group_logits: list[tf.Tensor] = []
        log_prob = 0.0
        for group in range(len(self.networks)):
            logits = self.group_params(products, group, binary, num_samples, False).logits
            z = counter_random.bernoulli_logits(counter_random.fold_in(key, group), logits)
            log_prob += log_bernoulli(z, logits)
            binary.append(z)
            group_logits.append(logits)
        return BinarySample(tf.concat(binary, axis=1), log_prob, tf.concat(group_logits, axis=1))

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        return [v for network in self.networks for v in network.decayed_variables()]
