"""How far each estimator of log Z is from the exact value, and from what it says of itself.

    python -m benchmarks.exactness --seeds=100             the 12x12 prior whose log Z is known
    python -m benchmarks.exactness --run=DIR --name=NAME   a trained prior, one line per estimator
    python -m benchmarks.exactness --doubts=1000           how often a sound log Z is doubted

Results are kept in benchmarks/results/exactness/ as JSON; `python -m benchmarks.pages` puts them
into docs/exactness.md.
"""

import argparse
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import pages, small_prior
from benchmarks.small_prior import MODEL
from dvae.runs.trained_model import TrainedModel
from samplers import counter_random, diagnostics, exact, log_partition, population_annealing
from samplers.energy_model import fitted_base
from samplers.log_partition_value import LogPartition
from samplers.log_z_table import (
    Row,
    format_table,
    make_row,
    measure_all,
    reverse_ais,
    student_factor,
    timed,
)
from samplers.rbm import Halves, RBMParameters

NUM_CHAINS, BURN_IN = 1000, 500
AIS_TEMPERATURES = 200
NUM_POPULATIONS, POPULATION_SIZE, POPULATION_SWEEPS = 16, 256, 5
SETTINGS = log_partition.Settings(
    num_chains=NUM_CHAINS,
    num_temperatures=AIS_TEMPERATURES,
    num_ladders=32,
    num_rungs=8,
    num_rounds=400,
)


@tf.function(jit_compile=True, autograph=False)
def follow(path: RBMParameters, key: tf.Tensor) -> tf.Tensor:
    """Tracked log Z of independent populations along a path of parameters ([S, ...] each)."""

    def one(population_key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(population_key, 2)

        def body(index: tf.Tensor, state: population_annealing.PopulationState) -> tuple:
            state, _ = population_annealing.step(
                MODEL,
                RBMParameters(*(parameter[index] for parameter in path)),
                state,
                counter_random.fold_in(keys[1], index),
                POPULATION_SWEEPS,
                resample_threshold=0.7,
                bridge_ess=0.5,
            )
            return index + 1, state

        start = tf.constant(0), population_annealing.init(MODEL, keys[0], POPULATION_SIZE)
        num_steps = path.coupling.shape[0]
        return tf.while_loop(lambda i, _: i < num_steps, body, start)[1].log_partition

    keys = counter_random.split(key, NUM_POPULATIONS)
    return tf.map_fn(one, keys, fn_output_signature=tf.float64)


def population_rows(path: RBMParameters, key: tf.Tensor) -> list[Row]:
    """Populations that follow the training; their spread is the error."""
    result = diagnostics.log_mean_estimate(follow(path, key))
    name = "population annealing along training"
    return [make_row(name, result.value, result.stderr, NUM_POPULATIONS, NUM_POPULATIONS)]


@tf.function(jit_compile=True, autograph=False)
def fresh_chains(params: RBMParameters, key: tf.Tensor) -> Halves:
    """Chains that start from uniform bits anew."""
    keys = counter_random.split(key, 2)
    return MODEL.sweeps(params, MODEL.start(NUM_CHAINS, keys[0]), keys[1], tf.constant(BURN_IN))


def one_seed(path: RBMParameters, params: RBMParameters, seed: int) -> list[Row]:
    """Every estimator once, with chains of its own."""
    keys = counter_random.split(counter_random.key(seed), 4)
    chains = fresh_chains(params, keys[0])
    rows = measure_all(MODEL, params, chains, keys[1], SETTINGS)
    fitted = fitted_base(MODEL.units(chains))
    checked = timed(
        lambda: reverse_ais(SETTINGS, MODEL, params, fitted, chains, keys[2], ""), warm=False
    )
    rows.append({**checked[0], "estimator": "reverse AIS from chains"})
    rows += timed(lambda: population_rows(path, keys[3]), warm=False)
    truth = float(exact.log_partition(MODEL, params))
    return [{**row, "distance": row["value"] - truth} for row in rows]


def inside(row: Row) -> bool:
    """Whether the exact value lies in the stated interval."""
    truth = row["value"] - row["distance"]
    return row["low"] <= truth and (row["high"] is None or truth <= row["high"])


def inside_95(row: Row) -> bool:
    """Whether it lies in the 95 % interval of the same standard error."""
    factor = student_factor(row["independent"], 0.95)
    return abs(row["distance"]) <= factor * row["stderr"]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """One estimator over all seeds, in nats; a bound has neither error nor 95 % interval."""
    distances = np.array([row["distance"] for row in rows])
    is_bound = rows[0]["high"] is None
    return {
        "estimator": rows[0]["estimator"],
        "seeds": len(rows),
        "mean_distance": float(distances.mean()),
        "rms_distance": math.sqrt(np.mean(distances**2)),
        "mean_stated_error": None
        if is_bound
        else float(np.mean([row["value"] - row["low"] for row in rows])),
        "inside_95": None if is_bound else sum(inside_95(row) for row in rows),
        "inside_stated": sum(inside(row) for row in rows),
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
    }


def summarize(seeds: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """What is kept of all seeds: `summary` of each estimator, and the time of enumeration."""
    by_name: dict[str, list[Row]] = {}
    for rows in seeds:
        for row in rows:
            by_name.setdefault(row["estimator"], []).append(row)
    exact_rows = by_name.pop("exact")
    return {
        "seeds": len(seeds),
        "exact_seconds": float(np.median([row["seconds"] for row in exact_rows])),
        "estimators": [summary(rows) for rows in by_name.values()],
    }


def many_seeds(num_seeds: int, first_seed: int) -> dict[str, Any]:
    """All estimators on the small prior over many seeds; the first one is for compilation."""
    path, params = small_prior.train()
    one_seed(path, params, first_seed - 1)
    seeds = []
    for seed in range(first_seed, first_seed + num_seeds):
        seeds.append(one_seed(path, params, seed))
        print(f"seed {seed}\n{format_table(seeds[-1])}", flush=True)
    return {
        "kind": "many seeds",
        "log_z": float(exact.log_partition(MODEL, params)),
        "first_seed": first_seed,
        "settings": {
            "chains": NUM_CHAINS,
            "ais_temperatures": AIS_TEMPERATURES,
            "populations": f"{NUM_POPULATIONS} of {POPULATION_SIZE}",
            "training": small_prior.DESCRIPTION,
            "largest_coupling": float(np.abs(params.coupling).max()),
            "tempering_ladders": SETTINGS.num_ladders,
            "tempering_temperatures": SETTINGS.num_rungs,
            "tempering_rounds": SETTINGS.num_rounds,
        },
        **summarize(seeds),
    }


def false_alarms(num_seeds: int, first_seed: int) -> dict[str, Any]:
    """How often AIS is not to be trusted, on the small prior: its chains mix, so never rightly.

    As a run measures: forward AIS, and reverse AIS from chains; the exact value is not looked at.
    """
    _, params = small_prior.train()
    settings = log_partition.Settings()
    gaps, doubted = [], []
    for seed in range(first_seed, first_seed + num_seeds):
        keys = counter_random.split(counter_random.key(seed), 3)
        chains = fresh_chains(params, keys[0])
        base = log_partition.make_base(settings.base, MODEL, chains)
        ahead = log_partition.forward(MODEL, params, base, keys[1], settings).estimate
        back = log_partition.reverse(MODEL, params, base, chains, keys[2], settings)
        found = LogPartition(
            *(float(value) for value in (ahead.value, ahead.stderr, ahead.ess, -math.inf)),
            *(float(value) for value in (back.value, back.stderr)),
            upper_status="checked",
            exact=None,
            num_chains=settings.num_chains,
            reverse_ess=float(back.ess),
            num_reverse=NUM_CHAINS,
        )
        gaps.append((found.reverse - found.value) / math.hypot(found.stderr, found.reverse_stderr))
        doubted += [{"seed": seed, "why": found.doubts()}] if found.doubts() else []
    return {
        "kind": "false alarms",
        "seeds": num_seeds,
        "first_seed": first_seed,
        "settings": {"chains": settings.num_chains, "temperatures": settings.num_temperatures},
        "doubted": doubted,
        "largest_gap_in_errors": float(np.abs(gaps).max()),
        "gap_deviation_in_errors": float(np.std(gaps)),
    }


def trained_prior(path: Path, data_dir: str) -> dict[str, Any]:
    """The table of `run.py --mode=log_z` for one run."""
    trained = TrainedModel(path, data_dir)
    rows = trained.log_partition_table()
    print(format_table(rows))
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter", "ais_chains")
    settings = {name: getattr(trained.config, name) for name in (*kept, "ais_temperatures")}
    shape = list(trained.prior.coupling.shape)
    return {"kind": "one seed", "shape": shape, "settings": settings, "rows": rows}


def keep(name: str, record: dict[str, Any]) -> None:
    """Keeps results with where they were measured."""
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    about = {"name": name, "machine": machine, "tensorflow": tf.__version__}
    pages.keep("exactness", name, {**record, **about})


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first_seed", type=int, default=1)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--name", help="of the result; default: dataset-baseline-DxD of the run")
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--doubts", type=int, default=0, metavar="SEEDS")
    options = parser.parse_args()
    if not (options.seeds or options.run or options.doubts):
        parser.error("nothing to measure: give --seeds, --run or --doubts")
    if options.seeds:
        keep("prior-12x12", many_seeds(options.seeds, options.first_seed))
    if options.doubts:
        keep("false-alarms-12x12", false_alarms(options.doubts, options.first_seed))
    if options.run:
        record = trained_prior(options.run, options.data_dir)
        settings, (left, right) = record["settings"], record["shape"]
        default = f"{settings['dataset']}-{settings['baseline']}-{left}x{right}"
        keep(options.name or default, record)


if __name__ == "__main__":
    main()
