"""Training with an undirected posterior: chains of every image that persist from step to step."""

from typing import TYPE_CHECKING

import tensorflow as tf

from dvae.doubly_reparameterized import DoublyReparameterized
from dvae.encoder import Encoding
from dvae.estimators import Estimate
from dvae.networks import frozen
from samplers import counter_random
from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE


class PersistentPosterior(DoublyReparameterized):
    """The gradient along relaxed samples of persistent chains (Vahdat et al. 2019, 1901.03440).

    The two terms are those of `DoublyReparameterized`. log q enters with its parameters stopped and
    without log Z of the image's posterior, which the weights of one image share. Biased by the
    relaxation, by chains that lag behind, and by the sweeps that no gradient flows through. The
    objective's value needs that log Z, so that no step knows it. Called without states, for a batch
    whose images have none, it starts from chains that AIS leaves.

    Needs an `UndirectedEncoder`.
    """

    knows_bound = False

    def init_states(self, model: "DVAE", num_images: int, key: tf.Tensor) -> tf.Tensor:
        """Left halves of K chains of each image, uint8 [num_images, K, L]: fair bits."""
        shape = [num_images, model.config.k, model.encoder.num_left]
        signs = tf.bitcast(counter_random.bits(key, shape), tf.int32)
        return tf.cast(signs < 0, tf.uint8)

    def step(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
        states: tf.Tensor,
    ) -> tuple[Estimate, tf.Tensor]:
        # Before the passes that move batch-norm averages, so that both terms see the same weights.
        frozen_model = frozen(model)
        encoding, left = model.encoder.follow(images, tf.cast(states, tf.float32), key)
        estimate = self.estimate(model, frozen_model, images, params, encoding, kl_weight)
        return estimate, tf.cast(left, states.dtype)

    def along_samples(self, model: "DVAE", images: tf.Tensor, encoding: Encoding) -> Encoding:
        """As it is: the encoder gives log q with its parameters stopped."""
        del model, images
        return encoding
