"""The undirected posterior q(z | x): an RBM for each image (Vahdat et al. 2019, 1901.03440)."""

import math

import keras
import numpy as np
import tensorflow as tf

from configs.paper import (
    COUPLING_NORM,
    COUPLING_SCALE,
    MODE_HITS,
    MODE_ITERATIONS,
    MODE_ROUNDING,
    POSTERIOR_SCALE,
    POSTERIOR_SWEEPS,
    POSTERIOR_TEMPERATURES,
)
from configs.registry import Structure
from dvae.encoder import Batch, Encoder
from dvae.networks import Network, layer_seed
from dvae.posteriors import Posterior, PosteriorParams, Sample
from samplers import counter_random, row_rbms
from samplers.rbm import Halves, RBMParameters

_MODES_AT_ONCE = 10


def _rows(*halves: tf.Tensor) -> tf.Tensor:
    """Halves [B, K, L] and [B, K, R] as latents [B*K, L + R]."""
    both = tf.concat(halves, axis=2)
    return tf.reshape(both, [-1, both.shape[2]])


class UndirectedEncoder(Encoder):
    """A network that gives biases and a full coupling matrix between the halves for each image.

    Of Ising spins s = 2z - 1, q ∝ exp(t/2 (c's_L + d's_R + s_L' J s_R)) with t = 2, the network's
    outputs c, d, w, and J = 1.5 bn(w) / sqrt(L). Of bits: couplings 2 t J, biases t (c - Σ_j J)
    and t (d - Σ_i J). `posterior` relaxes single units. The halves are those of the prior.
    """

    # Samples that a pass should take of an image: each multiplies with its couplings.
    samples_per_pass = 100

    def __init__(
        self, structure: Structure, train_mean: tf.Tensor, posterior: Posterior, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        self.posterior = posterior
        self.num_temperatures = POSTERIOR_TEMPERATURES
        self.mean = tf.constant(train_mean, tf.float32)
        self.num_left = structure.num_latents // 2
        self._num_right = structure.num_latents - self.num_left
        num_couplings = self.num_left * self._num_right
        hidden = [structure.hidden_units] * structure.num_hidden_layers
        outputs = structure.num_latents + num_couplings
        self.network = Network([len(train_mean)], hidden, outputs, layer_seed(seed, 1, 0))
        self.norm = keras.layers.BatchNormalization(**COUPLING_NORM, dtype="float32")
        self.norm.build((None, num_couplings))

    def posteriors(self, images: tf.Tensor, training: bool) -> RBMParameters:
        """The RBMs of images [B, X] (0/1): biases [B, L] and [B, R], couplings [B, L, R]."""
        product = self.network.product(0, images - self.mean)
        outputs = self.network.finish(product, training)
        halves = [self.num_left, self._num_right]
        left, right, weights = tf.split(outputs, [*halves, -1], axis=1)
        normalized = self.norm(weights, training=training)
        scale = COUPLING_SCALE / math.sqrt(self.num_left)
        coupling = scale * tf.reshape(normalized, [-1, *halves])
        return RBMParameters(
            POSTERIOR_SCALE * (left - tf.reduce_sum(coupling, axis=2)),
            POSTERIOR_SCALE * (right - tf.reduce_sum(coupling, axis=1)),
            2.0 * POSTERIOR_SCALE * coupling,
        )

    def condition(self, batch: Batch) -> RBMParameters:
        """The posteriors of B images in evaluation."""
        return self.posteriors(batch.images, False)

    def relaxed(self, rbm: RBMParameters, left: tf.Tensor, key: tf.Tensor) -> Sample:
        """One relaxed sweep, right half and then left, from binary left halves [B, K, L].

        Returns:
          Sample of B*K rows. Logits are those that each half was drawn with; log_q is -E at the
          left half's probabilities and the relaxed right half, with the parameters of E stopped:
          log q up to log Z of the image's posterior, for gradients along the samples alone.
        """
        keys = counter_random.split(key, 2)

        def draw(logits: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
            rows = tf.reshape(logits, [-1, logits.shape[2]])
            return tf.reshape(self.posterior.sample(PosteriorParams(rows), key), logits.shape)

        right_logits = row_rbms.right_field(rbm, left)
        right = draw(right_logits, keys[0])
        left_logits = row_rbms.left_field(rbm, right)
        stopped = RBMParameters(*map(tf.stop_gradient, rbm))
        log_q = -row_rbms.energy(stopped, Halves(tf.sigmoid(left_logits), right))
        return Sample(
            _rows(draw(left_logits, keys[1]), right),
            PosteriorParams(_rows(left_logits, right_logits)),
            tf.reshape(log_q, [-1]),
        )

    def follow(self, batch: Batch, left: tf.Tensor, key: tf.Tensor) -> tuple[Sample, tf.Tensor]:
        """Relaxed samples from persistent chains, in training.

        Args:
          batch: of B images.
          left: [B, K, L], left halves of the images' chains, 0/1.
          key: int32 [2].

        Returns:
          Sample of B*K rows as of `relaxed`, and the chains [B, K, L] after their sweeps. Biased
          as far as chains lag behind the parameters, and as no gradient flows through them.
        """
        keys = counter_random.split(key, 2)
        rbm = self.posteriors(batch.images, True)
        stopped = RBMParameters(*map(tf.stop_gradient, rbm))
        left = row_rbms.sweeps(stopped, left, keys[0], POSTERIOR_SWEEPS)
        return self.relaxed(rbm, left, keys[1]), left

    def sample(self, batch: Batch, num_samples: int, key: tf.Tensor, training: bool) -> Sample:
        """K relaxed samples per image, as of `relaxed`, from chains that AIS leaves."""
        keys = counter_random.split(key, 2)
        rbm = self.posteriors(batch.images, training)
        stopped = RBMParameters(*map(tf.stop_gradient, rbm))
        annealed = row_rbms.anneal(stopped, keys[0], num_samples, self.num_temperatures)
        return self.relaxed(rbm, annealed.chains.left, keys[1])

    def sample_binary(self, condition: RBMParameters, num_samples: int, key: tf.Tensor) -> Sample:
        """K binary samples per image by annealed importance sampling, for evaluation.

        log_q is -E(z) - a, where a is the chain's own log weight, an estimate of log Z of the
        image's posterior. p(x, z) / exp(log_q) is then a properly weighted importance weight:
        unbiased for p(x), however far z is from a sample of q. It is log q(z | x) itself as the
        temperatures grow many.

        Args:
          condition: of `condition`.
          num_samples: K.
          key: int32 [2], or [B*K, 2]: one for each row.

        Returns:
          Sample of B*K rows; the logits are each half's given the other.
        """
        chains, log_weights = row_rbms.anneal(condition, key, num_samples, self.num_temperatures)
        log_q = -row_rbms.energy(condition, chains) - tf.cast(log_weights, tf.float32)
        logits = _rows(
            row_rbms.left_field(condition, chains.right),
            row_rbms.right_field(condition, chains.left),
        )
        return Sample(_rows(*chains), PosteriorParams(logits), tf.reshape(log_q, [-1]))

    def count_modes(self, images: np.ndarray, num_samples: int, key: tf.Tensor) -> np.ndarray:
        """Modes of the posteriors of images float32 [N, X] (0/1), int [N]: see `modes_from`.

        Args:
          images: binary images, taken 10 at a time.
          num_samples: samples of each posterior, by AIS, that the search starts from.
          key: int32 [2].
        """
        counts = []
        filled = np.zeros([-(-len(images) // _MODES_AT_ONCE) * _MODES_AT_ONCE, images.shape[1]])
        filled[: len(images)] = images
        for first in range(0, len(filled), _MODES_AT_ONCE):
            rbm = self.posteriors(
                tf.constant(filled[first : first + _MODES_AT_ONCE], tf.float32), False
            )
            part_key = counter_random.fold_in(key, first)
            annealed = row_rbms.anneal(rbm, part_key, num_samples, self.num_temperatures)
            counts.append(modes_from(rbm, annealed.chains.left))
        return np.concatenate(counts)[: len(images)]

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        return [*self.network.decayed_variables(), self.norm.gamma]


def modes_from(rbm: RBMParameters, left: tf.Tensor) -> np.ndarray:
    """Modes of the posteriors of B images, int [B], from left halves of their samples [B, S, L].

    As in 1901.03440: 40 iterations of mean field from each sample, means rounded to 0.01, and the
    distinct results that more than 5 samples end in. A mode with fewer of them is not seen, and
    one where mean field is slow to settle may count several times.
    """
    means = row_rbms.mean_field(rbm, left, MODE_ITERATIONS)
    rounded = np.int32(np.round(tf.concat(means, axis=2).numpy() / MODE_ROUNDING))
    hits = [np.unique(ends, axis=0, return_counts=True)[1] for ends in rounded]
    return np.array([np.sum(counts > MODE_HITS) for counts in hits])
