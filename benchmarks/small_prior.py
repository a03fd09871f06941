"""A trained prior of 12x12 units, small enough to enumerate.

An RBM without hidden units, as the prior of a discrete VAE is: it learns the distribution of 24
bits (the most varied pixels of scikit-learn's handwritten digits) by persistent chains.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from samplers import counter_random, pcd
from samplers.rbm import RBM, RBMParameters

HALF = 12
MODEL = RBM(HALF, HALF)
NUM_STEPS, NUM_CHAINS, NUM_SWEEPS, RATE, EVERY = 3000, 500, 10, 0.1, 10
DESCRIPTION = (
    f"{NUM_STEPS} steps of persistent contrastive divergence on the {2 * HALF} most varied pixels "
    f"of scikit-learn's digits, {NUM_CHAINS} chains, {NUM_SWEEPS} sweeps a step"
)


def data() -> np.ndarray:
    """Bits [1797, 24] of the 24 most varied pixels, by turns in the left and the right half."""
    grey = load_digits().data / 16.0
    chosen = np.argsort(-grey.var(axis=0), kind="stable")[: 2 * HALF]
    bits = np.float32(grey[:, np.sort(chosen)] > 0.5)
    return np.concatenate([bits[:, ::2], bits[:, 1::2]], axis=1)


@tf.function(jit_compile=True, autograph=False)
def _train(moments: RBMParameters, key: tf.Tensor) -> tuple[RBMParameters, RBMParameters]:
    keys = counter_random.split(key, 2)
    state = pcd.init(MODEL, keys[0], NUM_CHAINS)
    zero = MODEL.independent(tf.zeros([2 * HALF]))
    arrays = tf.nest.map_structure(
        lambda p: tf.TensorArray(tf.float32, NUM_STEPS // EVERY, element_shape=p.shape), zero
    )

    def body(index: tf.Tensor, params: RBMParameters, state: pcd.PCDState, arrays: Any) -> tuple:
        step_key = counter_random.fold_in(keys[1], index)
        state, _ = pcd.step(MODEL, params, state, step_key, NUM_SWEEPS)
        # Falling steps average the noise of the chains out at the end.
        rate = RATE * (1.0 - tf.cast(index, tf.float32) / float(NUM_STEPS))
        params = tf.nest.map_structure(
            lambda p, d, m: p + rate * (d - m), params, moments, MODEL.moments(state.chains)
        )
        # The last of each EVERY steps stays in the array.
        arrays = tf.nest.map_structure(lambda a, p: a.write(index // EVERY, p), arrays, params)
        return index + 1, params, state, arrays

    start = (tf.constant(0), zero, state, arrays)
    _, params, _, arrays = tf.while_loop(lambda i, *_: i < NUM_STEPS, body, start)
    return tf.nest.map_structure(lambda array: array.stack(), arrays), params


def train(seed: int = 1) -> tuple[RBMParameters, RBMParameters]:
    """(parameters every few steps, [S, ...] each; the parameters at the end)."""
    return _train(MODEL.moments(MODEL.state(tf.constant(data()))), counter_random.key(seed))
