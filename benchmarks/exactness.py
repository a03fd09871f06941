"""How far each estimator of log Z is from the exact value, and from what it says of itself.

python -m benchmarks.exactness --seeds=100 [--models=...]    small priors of a known log Z
python -m benchmarks.exactness --run=DIR --name=NAME         a trained one, a line per estimator
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.small_priors import RANDOM, TRAINED, small_prior
from dvae.runs.trained_model import TrainedModel
from samplers import counter_random, diagnostics, hardware, log_partition, log_z_table
from samplers import population_annealing as annealing
from samplers.energy_model import EnergyModel, Parameters, fitted_base
from samplers.log_z_table import Row, format_table

NUM_CHAINS, BURN_IN = 1000, 500
SETTINGS = log_partition.Settings(NUM_CHAINS, 200, num_ladders=32, num_rungs=8, num_rounds=400)
NUM_POPULATIONS, POPULATION_SIZE, NUM_STEPS, NUM_SWEEPS = 16, 256, 40, 5


@hardware.Program
def fresh_chains(model: EnergyModel, params: Parameters, key: tf.Tensor) -> tuple:
    """Chains from uniform bits."""
    keys = counter_random.split(key, 2)
    return model.sweeps(params, model.start(NUM_CHAINS, keys[0]), keys[1], tf.constant(BURN_IN))


@hardware.Program
def follow(model: EnergyModel, params: Parameters, key: tf.Tensor) -> tf.Tensor:
    """Tracked log Z of independent populations on the straight way from zero to the parameters."""

    def one(population_key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(population_key, 2)

        def body(index: tf.Tensor, state: annealing.PopulationState) -> tuple:
            share = tf.cast(index + 1, tf.float32) / float(NUM_STEPS)
            here = tf.nest.map_structure(lambda parameter: share * parameter, params)
            step_key = counter_random.fold_in(keys[1], index)
            state, _ = annealing.step(model, here, state, step_key, NUM_SWEEPS, 0.7)
            return index + 1, state

        start = tf.constant(0), annealing.init(model, keys[0], POPULATION_SIZE)
        return tf.while_loop(lambda i, _: i < NUM_STEPS, body, start)[1].log_partition

    keys = counter_random.split(key, NUM_POPULATIONS)
    return tf.map_fn(one, keys, fn_output_signature=tf.float64)


def one_seed(model: EnergyModel, params: Parameters, seed: int) -> list[Row]:
    """Every estimator once, with chains of its own; the exact value among them."""
    keys = counter_random.split(counter_random.key(seed), 3)
    chains = fresh_chains(model, params, keys[0])
    rows = log_z_table.measure_all(model, params, chains, keys[1], SETTINGS)
    # The last two share a key: each is held against the exact value alone.
    of = model, params, fitted_base(model.units(chains)), chains, keys[2]
    [checked] = log_z_table.reverse_ais(SETTINGS, *of, "")
    tracked = diagnostics.log_mean_estimate(follow(model, params, keys[2]))
    about = tracked.value, tracked.stderr, NUM_POPULATIONS, NUM_POPULATIONS
    rows.append(checked | {"estimator": "reverse AIS from chains"})
    return [*rows, log_z_table.make_row("population annealing", *about)]


def _holds(row: Row, truth: float) -> bool:
    """Whether the interval does; that of a bound is open above."""
    return row["low"] <= truth and (row["high"] is None or truth <= row["high"])


def summary(rows: list[Row], truth: float) -> records.Record:
    """One estimator over all seeds, in nats."""
    distances = np.array([row["value"] - truth for row in rows])
    margins = [row["value"] - row["low"] for row in rows if row["high"] is not None]
    return {
        **{"estimator": rows[0]["estimator"], "seeds": len(rows)},
        "mean_distance": float(distances.mean()),
        "rms_distance": float(np.sqrt(np.mean(distances**2))),
        "mean_margin": float(np.mean(margins)) if margins else None,
        "inside_95": sum(_holds(row, truth) for row in rows),
    }


def summarize(by_seed: dict[int, list[Row]]) -> records.Record:
    """Each estimator over all seeds, and each miss of a 95 % interval, in standard errors."""
    by_name: dict[str, list[Row]] = {}
    for seed, rows in by_seed.items():
        for row in rows:
            by_name.setdefault(row["estimator"], []).append(row | {"seed": seed})
    truth = by_name.pop("exact")[0]["value"]
    misses = [
        {
            **{"seed": row["seed"], "estimator": name},
            "errors": (row["value"] - truth) / row["stderr"] if row["stderr"] else None,
        }
        for name, rows in by_name.items()
        for row in rows
        if not _holds(row, truth)
    ]
    found = [summary(rows, truth) for rows in by_name.values()]
    return {"log_z": truth, "seeds": len(by_seed), "estimators": found, "misses": misses}


def many_seeds(name: str, seeds: range) -> None:
    """Keeps what all estimators said of a small prior."""
    (model, params), by_seed = small_prior(name), {}
    for seed in seeds:
        by_seed[seed] = one_seed(model, params, seed)
        print(f"{name}: seed {seed}", flush=True)
    records.keep("known_log_z", f"{name}-{len(seeds)}", summarize(by_seed))


def trained_prior(path: Path, data_dir: str) -> records.Record:
    """The table of `run.py --mode=log_z` for one run."""
    trained = TrainedModel(path, data_dir)
    rows = trained.log_partition_table()
    print(format_table(rows))
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter")
    kept += ("ais_chains", "ais_temperatures")
    settings = {name: getattr(trained.config, name) for name in kept}
    return {"shape": list(trained.prior.coupling.shape), "settings": settings, "rows": rows}


def main() -> None:
    """Measures what is asked for."""
    parser = records.parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int)
    what.add_argument("--run", type=Path)
    parser.add_argument("--models", type=records.names, default=[TRAINED, *RANDOM])
    parser.add_argument("--first_seed", type=int, default=1)
    parser.add_argument("--name", help="of the result; default: dataset-baseline-DxD of the run")
    parser.add_argument("--data_dir", default="datasets")
    options = parser.parse_args()
    if options.seeds:
        for name in options.models:
            many_seeds(name, range(options.first_seed, options.first_seed + options.seeds))
        return
    record = trained_prior(options.run, options.data_dir)
    default = "{dataset}-{baseline}-".format(**record["settings"])
    default += "x".join(map(str, record["shape"]))
    records.keep("exactness", options.name or default, record)


if __name__ == "__main__":
    main()
