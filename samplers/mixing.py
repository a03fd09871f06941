"""How fast an RBM's chains mix, and how far a population of chains is from its distribution.

Long tempered chains stand for the distribution itself; the statistics are `chain_statistics`.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from samplers import ais, chain_statistics, counter_random, tempering
from samplers.energy_model import uniform_base
from samplers.rbm import Halves, RBMParameters, model_of

# Long tempered chains: states are recorded every so many rounds.
LADDERS, RUNGS, BURN_IN, RECORDINGS, SPACING = 512, 32, 250, 33, 25
# Block-Gibbs chains whose correlations are measured.
CHAINS, SWEEPS, SWEEPS_PER_CALL = 128, 4096, 256
MODES = 20  # strongest modes of the coupling whose cross products are looked at
FITTED_LAGS = (1, 10)  # beside the sweeps of a step: where the slowest combination is looked for


@tf.function(jit_compile=True, autograph=False)
def tempered_states(params: RBMParameters, key: tf.Tensor) -> tf.Tensor:
    """States of long tempered chains, left halves [RECORDINGS, LADDERS, L]."""
    model, temperatures = model_of(params), ais.linear_temperatures(RUNGS)
    path = model.path(params, uniform_base(model))
    keys = counter_random.split(key, 2)

    def rounds(first: tf.Tensor, count: int, state: tempering.TemperingState) -> Any:
        def advance(index: tf.Tensor, state: tempering.TemperingState) -> tuple:
            round_key = counter_random.fold_in(keys[1], index)
            return index + 1, tempering.step(path, state, round_key, temperatures)[0]

        end = first + count
        return tf.while_loop(lambda index, _: index < end, advance, (first, state))[1]

    state = tempering.init(path, keys[0], LADDERS, RUNGS + 1)
    state = rounds(tf.constant(0), BURN_IN, state)
    shape = [LADDERS, model.num_left]
    recorded = tf.TensorArray(params.coupling.dtype, RECORDINGS, element_shape=shape)

    def record(index: tf.Tensor, state: tempering.TemperingState, recorded: Any) -> tuple:
        state = rounds(BURN_IN + index * SPACING, SPACING, state)
        return index + 1, state, recorded.write(index, state.state[RUNGS :: RUNGS + 1])

    loop = (tf.constant(0), state, recorded)
    return tf.while_loop(lambda index, *_: index < RECORDINGS, record, loop)[2].stack()


@tf.function(jit_compile=True, autograph=False)
def _recorded_sweeps(params: RBMParameters, chains: Halves, key: tf.Tensor) -> tuple:
    """(chains, their left halves after each sweep, [SWEEPS_PER_CALL, CHAINS, L])."""
    model = model_of(params)
    array = tf.TensorArray(tf.float32, SWEEPS_PER_CALL, element_shape=[CHAINS, model.num_left])

    def body(index: tf.Tensor, chains: Halves, array: Any) -> tuple:
        chains = model.sweeps(params, chains, counter_random.fold_in(key, index), 1)
        return index + 1, chains, array.write(index, chains.left)

    loop = (tf.constant(0), chains, array)
    _, chains, array = tf.while_loop(lambda index, *_: index < SWEEPS_PER_CALL, body, loop)
    return chains, array.stack()


def chains_from(params: RBMParameters, left: np.ndarray, key: tf.Tensor) -> Halves:
    """Both halves: the right one drawn given the left, which leaves samples samples."""
    return model_of(params).complete(params, tf.constant(left), key)


def correlations(
    params: RBMParameters, start: Halves, key: tf.Tensor, num_sweeps: int
) -> dict[str, Any]:
    """Correlation time of block-Gibbs chains, in sweeps, from a start of samples."""
    chains, parts = start, []
    for call in range(SWEEPS // SWEEPS_PER_CALL):
        chains, left = _recorded_sweeps(params, chains, counter_random.fold_in(key, call))
        parts.append(left.numpy())
    slowest = _slowest_combination(np.concatenate(parts), num_sweeps)
    covariance = chain_statistics.autocovariance(slowest).mean(axis=0)
    return {
        "times": {"slowest combination": chain_statistics.correlation_time(slowest)._asdict()},
        "after a step": float(covariance[num_sweeps] / covariance[0]),
    }


def _slowest_combination(left: np.ndarray, num_sweeps: int) -> np.ndarray:
    """The series [S, C / 2] of the slowest combination of units [S, C, L].

    Found with half of the chains, as the slowest of the candidates at a few lags, and returned for
    the other half.
    """
    half = left.shape[1] // 2

    def time(direction: np.ndarray) -> float:
        return chain_statistics.correlation_time(left[:, :half] @ direction).value

    lags = sorted({*FITTED_LAGS, num_sweeps})
    candidates = [chain_statistics.slowest_direction(left[:, :half], lag) for lag in lags]
    return left[:, half:] @ max(candidates, key=time)


def _subspaces(params: RBMParameters, chains: Halves) -> dict[str, np.ndarray]:
    """Nested sets of the statistics whose means are the gradient of log Z: name -> [n, d]."""
    left, right = (np.float64(half) for half in chains)
    into_left, _, into_right = np.linalg.svd(np.float64(params.coupling), full_matrices=False)
    projected = left @ into_left, right @ into_right.T
    units = np.concatenate([left, right], axis=1)
    energies = np.concatenate([units, projected[0] * projected[1]], axis=1)
    strong = [half[:, :MODES] for half in projected]
    products = (strong[0][:, :, None] * strong[1][:, None, :]).reshape(len(left), -1)
    off_diagonal = ~np.eye(strong[0].shape[1], dtype=bool).ravel()
    crossed = np.concatenate([energies, products[:, off_diagonal]], axis=1)
    return {"units": units, "units and modes": energies, "units, modes and cross products": crossed}


def _moments(chains: Halves) -> dict[str, np.ndarray]:
    """Unit means [D] and covariances of left with right units [L R]."""
    left, right = (np.float64(half) for half in chains)
    means = left.mean(axis=0), right.mean(axis=0)
    covariances = left.T @ right / len(left) - np.outer(*means)
    return {"unit means": np.concatenate(means), "pair covariances": covariances.ravel()}


def bias(
    params: RBMParameters, population: Halves, recorded: np.ndarray, key: tf.Tensor
) -> dict[str, Any]:
    """Distance of a population from `tempered_states`, and its cost in nats (`bias_cost`)."""
    size = population.left.shape[0]
    flat = recorded.reshape(-1, recorded.shape[-1])
    starts = range(0, len(flat) - size + 1, size)
    keys = (counter_random.fold_in(key, start) for start in starts)
    sets = [chains_from(params, flat[s : s + size], k) for s, k in zip(starts, keys, strict=True)]
    distances, costs, moments = {}, {}, [_moments(chains) for chains in sets]
    for name, value in _moments(population).items():
        found = chain_statistics.moment_distance(value, [other[name] for other in moments])
        distances[name] = {**found._asdict(), "score": found.score}
    statistics = [_subspaces(params, chains) for chains in sets]
    for name, rows in _subspaces(params, population).items():
        others = [found[name] for found in statistics]
        costs[name] = chain_statistics.bias_cost(rows, others)._asdict()
    return {"members": size, "sets": len(sets), "distances": distances, "costs": costs}
