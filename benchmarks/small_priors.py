"""Priors small enough to enumerate: one that was trained, and random ones on graphs.

The trained one has learned the most varied pixels of scikit-learn's digits by persistent chains. In
the others biases and couplings are normal numbers of deviation 1 and 0.5.
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from configs import graphs
from samplers import counter_random, pcd
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters
from samplers.energy_model import EnergyModel, Parameters, parameter_shapes
from samplers.rbm import RBM, RBMParameters

HALF = 12
MODEL = RBM(HALF, HALF)
TRAINING_STEPS, TRAINING_CHAINS, TRAINING_SWEEPS, RATE = 3000, 500, 10, 0.1

# graphs.part(graphs.hardware("zephyr", 2), 20), so that no package is needed
ZEPHYR_20 = (
    "0-4 0-8 0-9 0-10 0-11 0-12 0-13 0-14 0-15 0-16 0-17 0-18 0-19 1-5 1-8 1-10 1-11 1-12 1-13 "
    "1-14 1-16 1-17 1-18 1-19 2-6 2-8 2-10 2-11 2-12 2-13 2-14 2-16 2-17 2-18 2-19 3-7 3-8 3-10 "
    "3-11 3-12 3-13 3-14 3-16 3-17 3-18 3-19 4-9 4-10 4-11 4-12 4-13 4-15 4-16 4-17 4-18 4-19 "
    "5-10 5-11 5-12 5-13 5-16 5-17 5-18 5-19 6-10 6-11 6-12 6-13 6-16 6-17 6-18 6-19 7-10 7-11 "
    "7-12 7-13 7-16 7-17 7-18 7-19 8-14 8-15 10-16 11-17 12-18 13-19 14-15 "
)


def train(seed: int = 1) -> RBMParameters:
    """The parameters of the trained prior; pixels are by turns in the left and the right half."""
    grey = load_digits().data / 16.0
    chosen = np.argsort(-grey.var(axis=0), kind="stable")[: 2 * HALF]
    bits = np.float32(grey[:, np.sort(chosen)] > 0.5)
    units = tf.constant(np.concatenate([bits[:, ::2], bits[:, 1::2]], axis=1))
    return _train(MODEL.moments(MODEL.state(units)), counter_random.key(seed))


@tf.function(jit_compile=True, autograph=False)
def _train(moments: RBMParameters, key: tf.Tensor) -> RBMParameters:
    keys = counter_random.split(key, 2)

    def body(index: tf.Tensor, params: RBMParameters, state: pcd.PCDState) -> tuple:
        step_key = counter_random.fold_in(keys[1], index)
        state, _ = pcd.step(MODEL, params, state, step_key, TRAINING_SWEEPS)
        # Falling steps average the noise of the chains out at the end.
        rate = RATE * (1.0 - tf.cast(index, tf.float32) / float(TRAINING_STEPS))
        found = zip(params, moments, MODEL.moments(state.chains), strict=True)
        return index + 1, RBMParameters(*(p + rate * (d - m) for p, d, m in found)), state

    zero = MODEL.independent(tf.zeros([2 * HALF]))
    start = (tf.constant(0), zero, pcd.init(MODEL, keys[0], TRAINING_CHAINS))
    return tf.while_loop(lambda index, *_: index < TRAINING_STEPS, body, start)[1]


def random_parameters(model: EnergyModel, seed: int = 1) -> Parameters:
    """Biases of deviation 1, couplings of 0.5."""
    rng = np.random.default_rng(seed)
    kind = RBMParameters if isinstance(model, RBM) else BoltzmannParameters
    *biases, coupling = (rng.normal(size=shape) for shape in parameter_shapes(model))
    return kind(*(tf.constant(one, tf.float32) for one in (*biases, 0.5 * coupling)))


RANDOM = {
    "rbm-12+12": MODEL,
    "zephyr-20": BoltzmannMachine(20, graphs.from_text(ZEPHYR_20)),
    "partite-4x5": BoltzmannMachine(20, graphs.partite(20, 4)),
    "complete-16": BoltzmannMachine(16, graphs.complete(16)),
}
TRAINED = "digits-12x12"


def small_prior(name: str) -> tuple[EnergyModel, Parameters]:
    """The trained prior, or a random one."""
    if name == TRAINED:
        return MODEL, train()
    return RANDOM[name], random_parameters(RANDOM[name])
