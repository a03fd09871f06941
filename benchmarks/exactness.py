"""How far each estimator of log Z is from the exact value, and from what it says of itself.

    python -m benchmarks.exactness --seeds=100             the 12x12 prior whose log Z is known
    python -m benchmarks.exactness --run=DIR --name=NAME   a trained prior, one line per estimator

The small prior has learned the most varied pixels of scikit-learn's digits by persistent chains.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from benchmarks import records
from dvae.runs.trained_model import TrainedModel
from samplers import counter_random, exact, log_partition, log_z_table, pcd
from samplers.energy_model import fitted_base
from samplers.log_z_table import Row, format_table
from samplers.rbm import RBM, Halves, RBMParameters

HALF = 12
MODEL = RBM(HALF, HALF)
TRAINING_STEPS, TRAINING_CHAINS, TRAINING_SWEEPS, RATE = 3000, 500, 10, 0.1

NUM_CHAINS, BURN_IN = 1000, 500
SETTINGS = log_partition.Settings(NUM_CHAINS, 200, num_ladders=32, num_rungs=8, num_rounds=400)


def train(seed: int = 1) -> RBMParameters:
    """The parameters of the small prior; pixels are by turns in the left and the right half."""
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


@tf.function(jit_compile=True, autograph=False)
def fresh_chains(params: RBMParameters, key: tf.Tensor) -> Halves:
    """Chains that start from uniform bits anew."""
    keys = counter_random.split(key, 2)
    return MODEL.sweeps(params, MODEL.start(NUM_CHAINS, keys[0]), keys[1], tf.constant(BURN_IN))


def one_seed(params: RBMParameters, seed: int) -> list[Row]:
    """Every estimator once, with chains of its own."""
    keys = counter_random.split(counter_random.key(seed), 4)
    chains = fresh_chains(params, keys[0])
    rows = log_z_table.measure_all(MODEL, params, chains, keys[1], SETTINGS)
    fitted = fitted_base(MODEL.units(chains))
    given = SETTINGS, MODEL, params, fitted, chains, keys[2], ""
    [checked] = log_z_table.timed(lambda: log_z_table.reverse_ais(*given), warm=False)
    rows.append({**checked, "estimator": "reverse AIS from chains"})
    truth = float(exact.log_partition(MODEL, params))
    return [{**row, "distance": row["value"] - truth} for row in rows]


def summary(rows: Sequence[Row]) -> records.Record:
    """One estimator over all seeds, in nats; the interval of a bound is open above."""
    distances = np.array([row["distance"] for row in rows])
    truth = rows[0]["value"] - distances[0]
    inside = [r["low"] <= truth and (r["high"] is None or truth <= r["high"]) for r in rows]
    margins = [row["value"] - row["low"] for row in rows if row["high"] is not None]
    return {
        **{"estimator": rows[0]["estimator"], "seeds": len(rows)},
        "mean_distance": float(distances.mean()),
        "rms_distance": float(np.sqrt(np.mean(distances**2))),
        "mean_margin": float(np.mean(margins)) if margins else None,
        "inside_95": int(sum(inside)),
    }


def summarize(seeds: Sequence[Sequence[Row]]) -> records.Record:
    """What is kept of all seeds: `summary` of each estimator."""
    by_name: dict[str, list[Row]] = {}
    for row in itertools.chain.from_iterable(seeds):
        by_name.setdefault(row["estimator"], []).append(row)
    del by_name["exact"]
    return {"seeds": len(seeds), "estimators": [summary(rows) for rows in by_name.values()]}


def many_seeds(num_seeds: int) -> records.Record:
    """All estimators on the small prior over many seeds; the first one is for compilation."""
    params = train()
    one_seed(params, 0)
    seeds = []
    for seed in range(1, num_seeds + 1):
        seeds.append(one_seed(params, seed))
        print(f"seed {seed}\n{format_table(seeds[-1])}", flush=True)
    log_z = float(exact.log_partition(MODEL, params))
    about = {"kind": "many seeds", "log_z": log_z, "settings": SETTINGS._asdict()}
    return about | summarize(seeds)


def trained_prior(path: Path, data_dir: str) -> records.Record:
    """The table of `run.py --mode=log_z` for one run."""
    trained = TrainedModel(path, data_dir)
    rows = trained.log_partition_table()
    print(format_table(rows))
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter")
    kept += ("ais_chains", "ais_temperatures")
    settings = {name: getattr(trained.config, name) for name in kept}
    shape = list(trained.prior.coupling.shape)
    return {"kind": "one seed", "shape": shape, "settings": settings, "rows": rows}


def main() -> None:
    """Measures what is asked for."""
    parser = records.parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int)
    what.add_argument("--run", type=Path)
    parser.add_argument("--name", help="of the result; default: dataset-baseline-DxD of the run")
    parser.add_argument("--data_dir", default="datasets")
    options = parser.parse_args()
    if options.seeds:
        records.keep("exactness", "prior-12x12", many_seeds(options.seeds))
        return
    record = trained_prior(options.run, options.data_dir)
    default = "{dataset}-{baseline}-".format(**record["settings"])
    default += "x".join(map(str, record["shape"]))
    records.keep("exactness", options.name or default, record)


if __name__ == "__main__":
    main()
