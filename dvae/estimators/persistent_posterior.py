"""Training with an undirected posterior: chains of every image that persist from step to step."""

import tensorflow as tf

from dvae.encoder import Batch
from dvae.estimators.base import Inputs, Step
from dvae.estimators.doubly_reparameterized import DoublyReparameterized
from dvae.metrics import Share
from dvae.model import DVAE
from dvae.networks import frozen
from dvae.posteriors import Sample
from samplers import counter_random


class PersistentPosterior(DoublyReparameterized):
    """The gradient along relaxed samples of persistent chains (Vahdat et al. 2019, 1901.03440).

    The two terms are those of `DoublyReparameterized`. log q enters with its parameters stopped and
    without log Z of the image's posterior, which the weights of one image share. Biased by the
    relaxation, by chains that lag behind, and by the sweeps that no gradient flows through. The
    objective's value needs that log Z, so that no step knows it.

    Needs an `UndirectedEncoder`.
    """

    @property
    def shares(self) -> dict[str, Share]:  # noqa: D102
        return self.objective.term_shares  # no bound

    def init(self, model: DVAE, num_images: int, key: tf.Tensor) -> tf.Tensor:
        """Left halves of K chains of each image, uint8 [num_images, K, L]: fair bits."""
        shape = [num_images, self.num_samples, model.encoder.num_left]
        signs = tf.bitcast(counter_random.bits(key, shape), tf.int32)
        return tf.cast(signs < 0, tf.uint8)

    def step(self, model: DVAE, inputs: Inputs, state: tf.Tensor) -> Step:  # noqa: D102
        # Before the passes that move batch-norm averages, so that both terms see the same weights.
        frozen_model = frozen(model)
        sample, left = model.encoder.follow(inputs.batch, tf.cast(state, tf.float32), inputs.key)
        surrogate, generative = self.surrogate(model, frozen_model, inputs, sample)
        return Step(surrogate, self.objective.term_metrics(generative), tf.cast(left, state.dtype))

    def along_samples(self, model: DVAE, batch: Batch, sample: Sample) -> Sample:
        """As it is: the encoder gives log q with its parameters stopped."""
        del model, batch
        return sample
