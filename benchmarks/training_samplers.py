"""Which sampler of training pays? Finished runs that differ in it, beside each other.

    python -m benchmarks.training_samplers --clusters=clusters.npz    writes clustered images
    python -m benchmarks.training_samplers RUN_DIR ... --keep=NAME    measures each run's best model

The distance is between the mean of a unit, or of two coupled units at once, over the chains of the
next gradient and over long tempered chains at the same parameters: root mean square over all of
them, as it is and beyond the chance of as many independent chains. So it is the error of the
gradient of log Z, and what of it more chains would not mend.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.long_runs import load_kept, steps_kept
from benchmarks.records import Record
from dvae.runs.metrics_file import read_metrics
from dvae.runs.records import read_config, read_result
from samplers import counter_random, hardware, tempering
from samplers.ais import linear_temperatures
from samplers.energy_model import EnergyModel, LinearPath, Parameters, uniform_base

LADDERS, TEMPERATURES, BURN_IN, RECORDINGS, SPACING = 128, 32, 500, 20, 50
PROTOTYPES, SIDE, FLIPS = 8, 16, 0.05


def clusters(seed: int = 1) -> dict[str, np.ndarray]:
    """Binary images of a few random prototypes, not equally often, each pixel flipped by chance."""
    rng = np.random.default_rng(seed)
    prototypes = rng.random((PROTOTYPES, SIDE * SIDE)) < 0.5
    shares = np.arange(1, PROTOTYPES + 1) / np.arange(1, PROTOTYPES + 1).sum()

    def images(count: int) -> np.ndarray:
        chosen = prototypes[rng.choice(PROTOTYPES, size=count, p=shares)]
        return np.float32(chosen ^ (rng.random(chosen.shape) < FLIPS))

    return {"train": images(20_000), "validation": images(2_000), "test": images(5_000)}


@hardware.Program
def long_means(model: EnergyModel, params: Parameters, key: tf.Tensor) -> Parameters:
    """Means of the model by tempered chains, in the structure of the parameters."""
    path = LinearPath(model, params, uniform_base(model))
    temperatures, cold = linear_temperatures(TEMPERATURES), TEMPERATURES
    keys = counter_random.split(key, 2)

    def one(index: tf.Tensor, state: tempering.TemperingState, total: Parameters) -> tuple:
        round_key = counter_random.fold_in(keys[1], index)
        state, _ = tempering.step(path, state, round_key, temperatures)
        ends = tf.nest.map_structure(lambda part: part[cold :: cold + 1], state.state)
        recorded = (index >= BURN_IN) & (index % SPACING == SPACING - 1)
        weight = tf.where(recorded, 1.0 / RECORDINGS, 0.0)
        found = model.moments(ends)
        total = tf.nest.map_structure(lambda sum_, mean: sum_ + weight * mean, total, found)
        return index + 1, state, total

    state = tempering.init(path, keys[0], LADDERS, cold + 1)
    start = tf.constant(0), state, tf.nest.map_structure(tf.zeros_like, params)
    return tf.while_loop(lambda i, *_: i < BURN_IN + RECORDINGS * SPACING, one, start)[2]


def distances(path: Path, step: int) -> Record:
    """Of the chains' means from the model's, and how much of it is beyond chance."""
    model, params, chains = load_kept(path, step)
    keys = counter_random.split(counter_random.key(step), 2)

    def flat(means: Parameters) -> np.ndarray:
        return np.concatenate([np.ravel(np.float64(part)) for part in means])

    first, second = (flat(long_means(model, params, key)) for key in keys)
    of_chains, true = flat(model.moments(chains)), (first + second) / 2
    count = tf.nest.flatten(chains)[0].shape[0]
    # The two long runs are apart by twice the error of their mean.
    square = np.mean((of_chains - true) ** 2) - np.mean((first - second) ** 2) / 4
    beyond = square - np.mean(true * (1.0 - true)) / count
    roots = (float(np.sqrt(max(value, 0.0))) for value in (square, beyond))
    return {"chains": count, **dict(zip(("distance", "beyond_chance"), roots, strict=True))}


def measure(path: Path) -> Record:
    """What is said of a run."""
    config, _ = read_config(path)
    result, curves = read_result(path / "result.json"), read_metrics(path / "metrics.jsonl")
    trips = curves.get("sampler/round_trips")
    names = ("baseline", "sampler", "num_sweeps", "num_train_iter", "seed")
    found: Record = {name: getattr(config, name) for name in names}
    found |= {"data": Path(config.dataset).stem, "prior": config.structure.prior}
    found |= {"test_nll": result["test_nll"], "interval": result["nll_interval"]}
    if trips is not None:
        ladders = config.num_chains // config.num_temperatures
        mean = float(trips.values[len(trips.values) // 2 :].mean())
        found["round_trips"] = mean * ladders * config.num_sweeps
    return found | distances(path, steps_kept(path, "best")[-1])


def table(rows: list[Record]) -> str:
    """Means over the seeds of a setting."""
    names = ("data", "prior", "baseline", "sampler", "num_sweeps")
    groups: dict[tuple, list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    lines = []
    for setting, found in groups.items():
        numbers = ("test_nll", "distance", "beyond_chance")
        nll, distance, beyond = (np.mean([row[name] for row in found]) for name in numbers)
        trips = np.mean([row.get("round_trips", np.nan) for row in found])
        trusted = sum(row["interval"]["trusted"] for row in found)
        spread = (
            "" if len(found) < 2 else f" ± {np.std([r['test_nll'] for r in found], ddof=1):.2f}"
        )
        line = [f"{nll:.2f}{spread}", f"{trusted} of {len(found)}", f"{found[0]['chains']}"]
        line += [f"{distance:.4f}", f"{beyond:.4f}", "" if np.isnan(trips) else f"{trips:.1f}"]
        lines.append([*setting, *line])
    header = ["data", "prior", "method", "sampler", "sweeps", "test NLL", "log Z trusted"]
    header += ["chains", "distance", "beyond chance", "round trips a step"]
    return records.table(header, lines)


def kept_table() -> str:
    """Of all that is kept."""
    kept = records.read("samplers")
    return table([row for record in kept.values() for row in record["runs"]])


def main() -> None:
    """Makes data, or measures runs."""
    parser = records.parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--clusters", type=Path, help="where clustered images go")
    parser.add_argument("--keep", help="the name that results are kept by")
    options = parser.parse_args()
    if options.clusters:
        np.savez_compressed(options.clusters, **clusters())
    rows = [measure(path) for path in options.runs]
    if rows and options.keep:
        records.keep("samplers", options.keep, {"runs": rows})
    print(table(rows))


if __name__ == "__main__":
    main()
