"""How far each estimator of log Z is from the exact value, and from what it says of itself.

    python -m benchmarks.exactness --seeds=100             the 12x12 prior whose log Z is known
    python -m benchmarks.exactness --run=DIR --name=NAME   a trained prior, one line per estimator
    python -m benchmarks.exactness                         only writes the page again

Results are kept in benchmarks/results/exactness/ as JSON; docs/exactness.md is made from them.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import exactness_page, small_prior
from samplers import (
    ais,
    counter_random,
    diagnostics,
    exact,
    gibbs,
    log_partition,
    population_annealing,
)
from samplers.rbm import RBM, Chains, uniform_chains

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exactness"
PAGE = ROOT / "docs" / "exactness.md"

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


@tf.function(jit_compile=True)
def follow(path: RBM, key: tf.Tensor) -> tf.Tensor:
    """Tracked log Z of independent populations along a path of parameters ([S, ...] each)."""
    num_steps, num_left, num_right = path.coupling.shape

    def one(population_key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(population_key, 2)

        def body(index: tf.Tensor, state: population_annealing.PopulationState) -> tuple:
            rbm = RBM(*(parameter[index] for parameter in path))
            state, _ = population_annealing.step(
                rbm,
                state,
                counter_random.fold_in(keys[1], index),
                POPULATION_SWEEPS,
                resample_threshold=0.7,
                bridge_ess=0.5,
            )
            return index + 1, state

        state = population_annealing.init(keys[0], POPULATION_SIZE, num_left, num_right)
        state = tf.while_loop(lambda i, _: i < num_steps, body, (tf.constant(0), state))[1]
        return state.log_partition

    keys = counter_random.split(key, NUM_POPULATIONS)
    return tf.map_fn(one, keys, fn_output_signature=tf.float64)


def population_rows(path: RBM, key: tf.Tensor) -> list[log_partition.Row]:
    """Populations that follow the training; their spread is the error."""
    result = diagnostics.log_mean_estimate(follow(path, key))
    name = "population annealing along training"
    return [
        log_partition.make_row(name, result.value, result.stderr, NUM_POPULATIONS, NUM_POPULATIONS)
    ]


@tf.function(jit_compile=True)
def fresh_chains(rbm: RBM, key: tf.Tensor) -> Chains:
    """Chains that start from uniform bits anew."""
    keys = counter_random.split(key, 2)
    start = uniform_chains(keys[0], NUM_CHAINS, *rbm.coupling.shape)
    return gibbs.sweeps(rbm, start, keys[1], tf.constant(BURN_IN))


def one_seed(path: RBM, rbm: RBM, seed: int) -> list[log_partition.Row]:
    """Every estimator once, with chains of its own."""
    keys = counter_random.split(counter_random.key(seed), 4)
    chains = fresh_chains(rbm, keys[0])
    rows = log_partition.measure_all(rbm, chains, keys[1], SETTINGS)
    fitted = ais.fitted_base(chains)
    checked = log_partition.timed(
        lambda: log_partition.reverse_ais(SETTINGS, rbm, fitted, chains.left, keys[2], ""),
        warm=False,
    )
    rows.append({**checked[0], "estimator": "reverse AIS from chains"})
    rows += log_partition.timed(lambda: population_rows(path, keys[3]), warm=False)
    truth = float(exact.log_partition(rbm))
    return [{**row, "distance": row["value"] - truth} for row in rows]


def many_seeds(num_seeds: int, first_seed: int) -> dict[str, Any]:
    """All estimators on the small prior over many seeds; the first one is for compilation."""
    path, rbm = small_prior.train()
    one_seed(path, rbm, first_seed - 1)
    seeds = []
    for seed in range(first_seed, first_seed + num_seeds):
        seeds.append(one_seed(path, rbm, seed))
        print(f"seed {seed}\n{log_partition.format_table(seeds[-1])}", flush=True)
    return {
        "kind": "many seeds",
        "log_z": float(exact.log_partition(rbm)),
        "first_seed": first_seed,
        "settings": {
            "chains": NUM_CHAINS,
            "ais_temperatures": AIS_TEMPERATURES,
            "populations": f"{NUM_POPULATIONS} of {POPULATION_SIZE}",
            "training": small_prior.DESCRIPTION,
            "largest_coupling": float(np.abs(rbm.coupling).max()),
            "tempering_ladders": SETTINGS.num_ladders,
            "tempering_temperatures": SETTINGS.num_rungs,
            "tempering_rounds": SETTINGS.num_rounds,
        },
        "seeds": seeds,
    }


def trained_prior(path: Path, data_dir: str) -> dict[str, Any]:
    """The table of `run.py --mode=log_z` for one run."""
    from dvae.runs import commands

    commands.log_z(path, {}, data_dir=data_dir, step=None, num_images=1, out_dir=path)
    rows = json.loads((path / "log_z.json").read_text())["estimators"]
    config = json.loads((path / "config.json").read_text())
    config = config.get("config", config)
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter", "ais_chains")
    half = config["structure"]["num_groups"] * config["structure"]["units_per_group"] // 2
    settings = {name: config[name] for name in (*kept, "ais_temperatures")}
    return {"kind": "one seed", "shape": [half, half], "settings": settings, "rows": rows}


def keep(name: str, record: dict[str, Any]) -> None:
    """Writes results with where they were measured."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    record = {**record, "name": name, "machine": machine, "tensorflow": tf.__version__}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Measures what is asked for, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first_seed", type=int, default=1)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--name", help="of the result; default: dataset-baseline-DxD of the run")
    parser.add_argument("--data_dir", default="datasets")
    options = parser.parse_args()
    if options.seeds:
        keep("prior-12x12", many_seeds(options.seeds, options.first_seed))
    if options.run:
        record = trained_prior(options.run, options.data_dir)
        settings, (left, right) = record["settings"], record["shape"]
        default = f"{settings['dataset']}-{settings['baseline']}-{left}x{right}"
        keep(options.name or default, record)
    records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(exactness_page.page(records))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
