"""A trained prior of 12x12 units, small enough to enumerate.

An RBM without hidden units, as the prior of a discrete VAE is: it learns the distribution of 24
bits (the most varied pixels of scikit-learn's handwritten digits) by persistent chains.
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from samplers import counter_random, pcd
from samplers.rbm import RBM

HALF = 12
NUM_STEPS, NUM_CHAINS, NUM_SWEEPS, RATE, EVERY = 3000, 500, 10, 0.1, 10
DESCRIPTION = (
    f"{NUM_STEPS} steps of persistent contrastive divergence on the {2 * HALF} most varied pixels "
    f"of scikit-learn's digits, {NUM_CHAINS} chains, {NUM_SWEEPS} sweeps a step"
)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Binary halves [1797, 12] of the 24 most varied pixels, alternating left and right."""
    grey = load_digits().data / 16.0
    chosen = np.argsort(-grey.var(axis=0), kind="stable")[: 2 * HALF]
    bits = np.float32(grey[:, np.sort(chosen)] > 0.5)
    return bits[:, ::2], bits[:, 1::2]


@tf.function(jit_compile=True)
def _train(moments: tuple, key: tf.Tensor) -> tuple[RBM, RBM]:
    zero = RBM(tf.zeros([HALF]), tf.zeros([HALF]), tf.zeros([HALF, HALF]))
    keys = counter_random.split(key, 2)
    state = pcd.init(keys[0], NUM_CHAINS, HALF, HALF)
    arrays = RBM(
        *(tf.TensorArray(tf.float32, NUM_STEPS // EVERY, element_shape=p.shape) for p in zero)
    )

    def body(index: tf.Tensor, rbm: RBM, state: pcd.PCDState, arrays: RBM) -> tuple:
        state, _ = pcd.step(rbm, state, counter_random.fold_in(keys[1], index), NUM_SWEEPS)
        left, right = state.chains
        product = tf.matmul(left, right, transpose_a=True) / float(NUM_CHAINS)
        model = (tf.reduce_mean(left, axis=0), tf.reduce_mean(right, axis=0), product)
        # Falling steps average the noise of the chains out at the end.
        rate = RATE * (1.0 - tf.cast(index, tf.float32) / float(NUM_STEPS))
        changed = (p + rate * (d - m) for p, d, m in zip(rbm, moments, model, strict=True))
        rbm = RBM(*changed)
        # The last of each EVERY steps stays in the array.
        arrays = RBM(*(a.write(index // EVERY, p) for a, p in zip(arrays, rbm, strict=True)))
        return index + 1, rbm, state, arrays

    start = (tf.constant(0), zero, state, arrays)
    _, rbm, _, arrays = tf.while_loop(lambda i, *_: i < NUM_STEPS, body, start)
    return RBM(*(array.stack() for array in arrays)), rbm


def train(seed: int = 1) -> tuple[RBM, RBM]:
    """(parameters every few steps, [S, ...] each; the parameters at the end)."""
    left, right = data()
    moments = (left.mean(axis=0), right.mean(axis=0), left.T @ right / len(left))
    moments = tuple(tf.constant(moment, tf.float32) for moment in moments)
    return _train(moments, counter_random.key(seed))
