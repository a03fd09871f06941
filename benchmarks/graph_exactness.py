"""Does log Z lie where each estimator says, on an RBM and on graphs? Small models, many seeds.

    python -m benchmarks.graph_exactness --seeds=100
    python -m benchmarks.graph_exactness --seeds=400 --models=zephyr-20,partite-4x5

Models whose log Z is enumerated: an RBM of 12 + 12 units, a part of Zephyr of 20 (its edges are
kept here, so that no package is needed), four-partite 4 x 5, complete 16; biases and couplings are
normal numbers of deviation 1 and 0.5.
"""

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.exactness import SETTINGS, summary
from configs import graphs
from samplers import counter_random, diagnostics, exact, hardware, population_annealing
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters
from samplers.energy_model import EnergyModel, Parameters, parameter_shapes
from samplers.log_z_table import Row, make_row, measure_all
from samplers.rbm import RBM, RBMParameters

# graphs.part(graphs.hardware("zephyr", 2), 20)
ZEPHYR_20 = (
    "0-4 0-8 0-9 0-10 0-11 0-12 0-13 0-14 0-15 0-16 0-17 0-18 0-19 1-5 1-8 1-10 1-11 1-12 1-13 "
    "1-14 1-16 1-17 1-18 1-19 2-6 2-8 2-10 2-11 2-12 2-13 2-14 2-16 2-17 2-18 2-19 3-7 3-8 3-10 "
    "3-11 3-12 3-13 3-14 3-16 3-17 3-18 3-19 4-9 4-10 4-11 4-12 4-13 4-15 4-16 4-17 4-18 4-19 "
    "5-10 5-11 5-12 5-13 5-16 5-17 5-18 5-19 6-10 6-11 6-12 6-13 6-16 6-17 6-18 6-19 7-10 7-11 "
    "7-12 7-13 7-16 7-17 7-18 7-19 8-14 8-15 10-16 11-17 12-18 13-19 14-15 "
)
MODELS = {
    "rbm-12+12": RBM(12, 12),
    "zephyr-20": BoltzmannMachine(20, graphs.from_text(ZEPHYR_20)),
    "partite-4x5": BoltzmannMachine(20, graphs.partite(20, 4)),
    "complete-16": BoltzmannMachine(16, graphs.complete(16)),
}
NUM_CHAINS, BURN_IN = 1000, 500
NUM_POPULATIONS, POPULATION_SIZE, NUM_STEPS, NUM_SWEEPS = 16, 256, 40, 5


def parameters(model: EnergyModel, seed: int = 1) -> Parameters:
    """Biases of deviation 1, couplings of 0.5."""
    rng = np.random.default_rng(seed)
    kind = RBMParameters if isinstance(model, RBM) else BoltzmannParameters
    *biases, coupling = (rng.normal(size=shape) for shape in parameter_shapes(model))
    return kind(*(tf.constant(one, tf.float32) for one in (*biases, 0.5 * coupling)))


@hardware.Program
def follow(model: EnergyModel, params: Parameters, key: tf.Tensor) -> tf.Tensor:
    """Tracked log Z of independent populations on the straight way from zero to the parameters."""

    def one(population_key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(population_key, 2)

        def body(index: tf.Tensor, state: population_annealing.PopulationState) -> tuple:
            share = tf.cast(index + 1, tf.float32) / float(NUM_STEPS)
            here = tf.nest.map_structure(lambda parameter: share * parameter, params)
            step_key = counter_random.fold_in(keys[1], index)
            state, _ = population_annealing.step(model, here, state, step_key, NUM_SWEEPS, 0.7)
            return index + 1, state

        start = tf.constant(0), population_annealing.init(model, keys[0], POPULATION_SIZE)
        return tf.while_loop(lambda i, _: i < NUM_STEPS, body, start)[1].log_partition

    keys = counter_random.split(key, NUM_POPULATIONS)
    return tf.map_fn(one, keys, fn_output_signature=tf.float64)


@hardware.Program
def fresh_chains(model: EnergyModel, params: Parameters, key: tf.Tensor) -> tuple:
    """Chains from uniform bits."""
    keys = counter_random.split(key, 2)
    return model.sweeps(params, model.start(NUM_CHAINS, keys[0]), keys[1], tf.constant(BURN_IN))


def one_seed(model: EnergyModel, params: Parameters, seed: int) -> list[Row]:
    """Every estimator once, with chains of its own."""
    keys = counter_random.split(counter_random.key(seed), 3)
    rows = measure_all(model, params, fresh_chains(model, params, keys[0]), keys[1], SETTINGS)
    found = diagnostics.log_mean_estimate(follow(model, params, keys[2]))
    of = found.value, found.stderr, NUM_POPULATIONS, NUM_POPULATIONS
    truth = float(exact.log_partition(model, params))
    row = make_row("population annealing", *of) | {"seconds": None}
    return [*rows, row | {"distance": row["value"] - truth}]


def measure(name: str, seeds: range) -> None:
    """Keeps what all seeds gave of a model, and each miss of a 95 % interval."""
    model, by_name = MODELS[name], {}
    params = parameters(model)
    truth = float(exact.log_partition(model, params))
    for seed in seeds:
        for row in one_seed(model, params, seed):
            if row["stderr"]:  # neither bounds nor the enumerated value
                by_name.setdefault(row["estimator"], []).append(row | {"seed": seed})
        print(f"{name}: seed {seed}", flush=True)
    misses = [
        {"seed": row["seed"], "estimator": kind, "errors": row["distance"] / row["stderr"]}
        for kind, rows in by_name.items()
        for row in rows
        if not row["low"] <= truth <= row["high"]
    ]
    found = [summary(rows) for rows in by_name.values()]
    record = {"log_z": truth, "seeds": len(seeds), "estimators": found, "misses": misses}
    records.keep("graphs", f"{name}-{len(seeds)}", record)


def table() -> str:
    """Of all that is kept: how far each estimator is from the exact value."""
    rows = []
    for name, record in records.read("graphs").items():
        for found in record["estimators"]:
            share = f"{found['inside_95']} of {found['seeds']}"
            distances = f"{found['mean_distance']:+.4f}", f"{found['rms_distance']:.4f}"
            rows.append([name.rpartition("-")[0], found["estimator"], *distances, share])
    return records.table(["model", "estimator", "mean - exact", "rms distance", "in 95 %"], rows)


def misses_table() -> str:
    """Every miss of a 95 % interval that is kept."""
    rows = []
    for name, record in records.read("graphs").items():
        for kind in (found["estimator"] for found in record["estimators"]):
            here = [miss for miss in record["misses"] if miss["estimator"] == kind]
            seeds = ", ".join(f"{miss['seed']} ({miss['errors']:+.1f})" for miss in here)
            rows.append([*name.rsplit("-", 1), kind, seeds or "none"])
    return records.table(["model", "seeds", "estimator", "seed (standard errors)"], rows)


def main() -> None:
    """Measures what is asked for."""
    parser = records.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first_seed", type=int, default=1)
    parser.add_argument("--models", type=records.names, default=[*MODELS])
    options = parser.parse_args()
    for name in options.models:
        measure(name, range(options.first_seed, options.first_seed + options.seeds))


if __name__ == "__main__":
    main()
