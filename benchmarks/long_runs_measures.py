"""What `benchmarks.long_runs` measures on one model that a run has kept."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import chain_statistics
from benchmarks.chain_statistics import Cost, Excess
from configs.errors import UserError
from dvae.build import build
from dvae.prior_chains import PriorChains
from dvae.runs.checkpoints import restore_model
from dvae.runs.directory import RunDirectory
from dvae.runs.records import read_config
from dvae.train_state import NetworkVariables
from samplers import ais, counter_random, diagnostics, log_partition, tempering
from samplers.energy_model import fitted_base, uniform_base
from samplers.rbm import Halves, RBMParameters, model_of

Record = dict[str, Any]

AIS_CHAINS, AIS_TEMPERATURES = 1024, (1000, 10_000)
# Long tempered chains: states are recorded every so many rounds.
LADDERS, RUNGS, BURN_IN, RECORDINGS, SPACING = 512, 32, 250, 33, 25
# Block-Gibbs chains whose correlations are measured.
CHAINS, SWEEPS, SWEEPS_PER_CALL = 128, 4096, 256
MODES = 20  # strongest modes of the coupling whose cross products are looked at
FITTED_LAGS = (1, 10)  # beside the sweeps of a step: where the slowest combination is looked for
_POPULATION, _TEMPERED, _RUN, _AIS = range(4)


def steps_kept(path: Path, kind: str) -> list[int]:
    """Steps of the checkpoints of a kind."""
    found = (path / "checkpoints").glob(f"{kind}-*")
    return sorted(int(place.name.removeprefix(f"{kind}-")) for place in found)


class Kept(NamedTuple):
    """A kept model's prior, and the population that its next gradient would be made with."""

    params: RBMParameters
    population: Halves
    num_sweeps: int


def load_kept(path: Path, step: int) -> Kept:
    """Reads a model that is kept; no data are needed, since the prior does not depend on them."""
    directory = RunDirectory(path)
    config, _ = read_config(directory.path)
    model, estimator = build(config, np.full(config.input_size, 0.5, np.float32))
    sampler = PriorChains(config, model.prior.energy_model)
    key = counter_random.key(config.seed)
    variables = NetworkVariables(model, estimator)
    like = variables.state(sampler.init(key))
    wanted = step if step in steps_kept(path, "kept") else None  # the best model
    found, _ = restore_model(directory, like, wanted)
    variables.assign(found)
    state, params = found.sampler, model.prior.parameters()
    # The kept chains are those of the last gradient: the parameters have taken one step since.
    key = counter_random.fold_in(key, _POPULATION)
    advance = tf.function(sampler.step, jit_compile=True, autograph=False)
    state, _ = advance(params, state, key, tf.constant(step))
    if sampler.weights(state) is not None:
        raise UserError(f"{path} has a weighted population (--resample_threshold): not covered")
    return Kept(params, sampler.chains(state), config.num_sweeps)


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


def _chains_from(params: RBMParameters, left: np.ndarray, key: tf.Tensor) -> Halves:
    """Both halves: the right one drawn given the left, which leaves samples samples."""
    return model_of(params).complete(params, tf.constant(left), key)


def correlations(params: RBMParameters, start: Halves, key: tf.Tensor, num_sweeps: int) -> Record:
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


def _excess(found: Excess) -> Record:
    return {**found._asdict(), "score": found.score}


def bias(kept: Kept, recorded: np.ndarray, key: tf.Tensor) -> Record:
    """Distance of the population from long tempered chains, and its cost in nats."""
    params, size = kept.params, kept.population.left.shape[0]
    flat = recorded.reshape(-1, recorded.shape[-1])
    sets = [
        _chains_from(params, flat[start : start + size], counter_random.fold_in(key, start))
        for start in range(0, len(flat) - size + 1, size)
    ]
    moments = [_moments(chains) for chains in sets]
    distances = {
        name: _excess(chain_statistics.moment_distance(value, [m[name] for m in moments]))
        for name, value in _moments(kept.population).items()
    }
    statistics = [_subspaces(params, chains) for chains in sets]
    costs: dict[str, Cost] = {
        name: chain_statistics.bias_cost(rows, [found[name] for found in statistics])
        for name, rows in _subspaces(params, kept.population).items()
    }
    return {
        "members": size,
        "sets": len(sets),
        "distances": distances,
        "costs": {name: cost._asdict() for name, cost in costs.items()},
    }


def _estimate(found: diagnostics.LogMeanEstimate) -> Record:
    return {name: float(value) for name, value in found._asdict().items()}


def log_z(kept: Kept, tempered: Halves, key: tf.Tensor) -> list[Record]:
    """log Z by AIS forward and in reverse, and by tempering, each from both bases."""
    model, rows = model_of(kept.params), []
    of = model, kept.params
    bases = {"uniform": uniform_base(model), "fitted": fitted_base(model.units(kept.population))}
    starts = {"population": kept.population, "tempered chains": tempered}
    for number, (name, base) in enumerate(bases.items()):
        keys = counter_random.split(counter_random.fold_in(key, number), 4)
        for temperatures in AIS_TEMPERATURES:
            settings = log_partition.Settings(AIS_CHAINS, temperatures)
            about = {"base": name, "temperatures": temperatures}
            found = log_partition.forward(*of, base, keys[0], settings)
            bound = {"markov_lower": float(found.markov_lower)}
            rows.append({"by": "forward AIS", **about, **_estimate(found.estimate), **bound})
            for start, state in starts.items():
                back = log_partition.reverse(*of, base, state, keys[1], settings)
                by = f"reverse AIS from the {start}"
                rows.append({"by": by, **about, **_estimate(back)})
        found = tempering.log_partition_estimate(*of, base, keys[2])
        health = {"arrivals": int(found.arrivals), "swap_rate": float(min(found.acceptance))}
        value = {"value": float(found.value), "stderr": float(found.stderr), **health}
        rows.append({"by": "tempering", "base": name, **value})
    return rows


def measure(path: Path, step: int) -> Record:
    """Everything about one kept model."""
    kept, key = load_kept(path, step), counter_random.key(step)
    recorded = tempered_states(kept.params, counter_random.fold_in(key, _TEMPERED)).numpy()
    size = kept.population.left.shape[0]
    last = recorded[-1 - (size - 1) // LADDERS :].reshape(-1, recorded.shape[-1])[-size:]
    tempered = _chains_from(kept.params, last, counter_random.fold_in(key, _RUN))
    start = Halves(*(half[:CHAINS] for half in tempered))
    return {
        "step": step,
        "num_sweeps": kept.num_sweeps,
        "recorded_sweeps": SWEEPS,
        "correlations": correlations(kept.params, start, key, kept.num_sweeps),
        "bias": bias(kept, recorded, key),
        "log_z": log_z(kept, tempered, counter_random.fold_in(key, _AIS)),
    }
