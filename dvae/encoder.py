"""Encoders: from images to samples of the posterior."""

import abc
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from configs.registry import Structure
from dvae.likelihood import log_bernoulli
from dvae.networks import Network, layer_seed
from dvae.posteriors import Posterior, PosteriorParams, Sample, concat
from dvae.rollout import Latents, binary, joined, relaxed, rollout


class Batch(NamedTuple):
    """B images [B, X], float32 of 0/1, and labels where there are some, which nothing reads yet."""

    images: tf.Tensor
    label: tf.Tensor | None = None


class Encoder(keras.layers.Layer, abc.ABC):
    """What model and evaluation ask of an encoder; its condition is of a type of its own.

    posterior: what relaxes its samples in training.
    """

    posterior: Posterior

    # Samples of an image that a pass of the evaluation should take, if it takes as many.
    samples_per_pass = 1

    @abc.abstractmethod
    def condition(self, batch: Batch) -> Any:
        """What a batch says, computed once for any number of samples."""

    @abc.abstractmethod
    def sample(self, batch: Batch, num_samples: int, key: tf.Tensor, training: bool) -> Sample:
        """K relaxed samples of each image, B*K rows, with gradients.

        training: batch statistics (and moving their averages), or the averages. key: int32 [2].
        """

    @abc.abstractmethod
    def sample_binary(self, condition: Any, num_samples: int, key: tf.Tensor) -> Sample:
        """K binary samples of each image from the unrelaxed posterior, for evaluation.

        key: int32 [2], or [B*K, 2]: one for each row.
        """

    @abc.abstractmethod
    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""


class HierarchicalEncoder(Encoder):
    """q(z | x) = Π_l q(z_l | x, earlier groups), of which a subclass gives the parameters.

    num_groups: of latents, the structure's.
    """

    num_groups = 1

    @abc.abstractmethod
    def group_params(
        self, condition: Any, group: int, earlier: Latents, num_samples: int, training: bool
    ) -> PosteriorParams:
        """Parameters of one group given the latents of the earlier ones, [N, d].

        `self.posterior.split` makes them of a network's outputs, [N, outputs_per_unit * d].

        num_samples: rows of each image in the first group; later ones have those of the latents.
        training: batch statistics (and moving their averages), or the averages.
        """

    def sample(  # noqa: D102
        self, batch: Batch, num_samples: int, key: tf.Tensor, training: bool
    ) -> Sample:
        draw = relaxed(self.posterior, key)
        walk = rollout(self, self.condition(batch), num_samples, draw, training)
        return joined(self.posterior, walk)

    def sample_binary(  # noqa: D102
        self, condition: Any, num_samples: int, key: tf.Tensor
    ) -> Sample:
        walk = rollout(self, condition, num_samples, binary(key))
        log_q = 0.0
        for z, params in zip(walk.latents, walk.params, strict=True):
            log_q += log_bernoulli(z, params.logits)
        return Sample(tf.concat(walk.latents, axis=1), concat(walk.params), log_q)


class ImageProducts(NamedTuple):
    """What images give to the first layer of each group's network, [B, H] each."""

    products: tuple[tf.Tensor, ...]


class DenseEncoder(HierarchicalEncoder):
    """A network per group, which sees x - mean_x."""

    def __init__(
        self, structure: Structure, train_mean: tf.Tensor, posterior: Posterior, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        self.posterior = posterior
        self.num_groups = structure.num_groups
        self.mean = tf.constant(train_mean, tf.float32)
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

    def condition(self, batch: Batch) -> ImageProducts:  # noqa: D102
        centered = batch.images - self.mean
        return ImageProducts(tuple(network.product(0, centered) for network in self.networks))

    def group_params(  # noqa: D102
        self,
        condition: ImageProducts,
        group: int,
        earlier: Latents,
        num_samples: int,
        training: bool,
    ) -> PosteriorParams:
        network, product = self.networks[group], condition.products[group]
        if group == 0:
            # Equal rows have the batch statistics of one of them: compute once, then repeat.
            output = network.finish(product, training)
            output = tf.repeat(output, num_samples, axis=0)
        else:
            first = tf.repeat(product, earlier[0].shape[0] // product.shape[0], axis=0)
            for part, latents in enumerate(earlier, start=1):
                first += network.product(part, latents)
            output = network.finish(first, training)
        return self.posterior.split(output, group)

    def decayed_variables(self) -> list[keras.Variable]:  # noqa: D102
        return [v for network in self.networks for v in network.decayed_variables()]
