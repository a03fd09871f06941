"""Do the chains still sample the prior after long training? Measured on the kept models of runs.

    python -m benchmarks.long_runs RUN_DIR ...    measures every kept model not measured yet

Those are the models of `--keep_steps` and the best one. No data are needed, and nothing is written.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.records import Record
from configs.errors import UserError
from dvae.build import build
from dvae.prior_chains import PriorChains
from dvae.runs.checkpoints import restore_model
from dvae.runs.compile_cache import compile_cache_directory, enable_compile_cache
from dvae.runs.directory import RunDirectory
from dvae.runs.metrics_file import Curve, read_metrics
from dvae.runs.model_card import model_name
from dvae.runs.records import read_config
from dvae.train_state import NetworkVariables
from samplers import counter_random, log_partition, mixing, tempering
from samplers.energy_model import EnergyModel, Parameters, State, fitted_base, uniform_base
from samplers.rbm import Halves, RBMParameters, model_of

AIS_CHAINS, AIS_TEMPERATURES = 1024, 10_000
_POPULATION, _TEMPERED, _RUN, _AIS = range(4)
_OF_A_RUN = ("struct", "baseline", "k", "sampler", "seed", "num_train_iter")


def steps_kept(path: Path, kind: str) -> list[int]:
    """Steps of the checkpoints of a kind."""
    found = (path / "checkpoints").glob(f"{kind}-*")
    return sorted(int(place.name.removeprefix(f"{kind}-")) for place in found)


def load_kept(path: Path, step: int) -> tuple[EnergyModel, Parameters, State]:
    """A kept model's prior, its parameters, and the population of its next gradient."""
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
    return model.prior.energy_model, params, sampler.chains(state)


def log_z(
    params: RBMParameters, population: Halves, tempered: Halves, key: tf.Tensor
) -> list[Record]:
    """log Z by AIS forward and in reverse, and by tempering, each from both bases."""
    model, rows = model_of(params), []
    of, settings = (model, params), log_partition.Settings(AIS_CHAINS, AIS_TEMPERATURES)
    bases = {"uniform": uniform_base(model), "fitted": fitted_base(model.units(population))}
    starts = {"population": population, "tempered chains": tempered}
    for number, (name, base) in enumerate(bases.items()):
        keys = counter_random.split(counter_random.fold_in(key, number), 4)
        found = {"forward AIS": log_partition.forward(*of, base, keys[0], settings).estimate}
        for start, state in starts.items():
            back = log_partition.reverse(*of, base, state, keys[1], settings)
            found[f"reverse AIS from the {start}"] = back
        for by, estimate in found.items():
            values = {field: float(value) for field, value in estimate._asdict().items()}
            about = {"by": by, "base": name, "temperatures": AIS_TEMPERATURES}
            rows.append(about | values)
        last = tempering.log_partition_estimate(*of, base, keys[2])
        rows.append({"by": "tempering", "base": name, "arrivals": int(last.arrivals)})
        rows[-1] |= {"value": float(last.value), "stderr": float(last.stderr)}
        rows[-1]["swap_rate"] = float(min(last.acceptance))
    return rows


def measure(path: Path, step: int, num_sweeps: int) -> Record:
    """Everything about one kept model."""
    (_, params, population), key = load_kept(path, step), counter_random.key(step)
    recorded = mixing.tempered_states(params, counter_random.fold_in(key, _TEMPERED)).numpy()
    size = population.left.shape[0]
    last = recorded[-1 - (size - 1) // mixing.LADDERS :].reshape(-1, recorded.shape[-1])[-size:]
    tempered = mixing.chains_from(params, last, counter_random.fold_in(key, _RUN))
    start = Halves(*(half[: mixing.CHAINS] for half in tempered))
    return {
        "step": step,
        "num_sweeps": num_sweeps,
        "recorded_sweeps": mixing.SWEEPS,
        "correlations": mixing.correlations(params, start, key, num_sweeps),
        "bias": mixing.bias(params, population, recorded, key),
        "log_z": log_z(params, population, tempered, counter_random.fold_in(key, _AIS)),
    }


def measure_run(path: Path, again: bool) -> None:
    """Measures what is new of a run, and keeps it model by model."""
    config, data_sha256 = read_config(path)
    name = f"{model_name(config)}-{config.num_train_iter}-seed{config.seed}"
    old = records.read("long_runs").get(name, {"models": [], "validation": []})
    measured = {} if again else {model["step"]: model for model in old["models"]}
    run = {field: getattr(config, field) for field in _OF_A_RUN}
    none, curves = Curve(np.zeros(0), np.zeros(0)), read_metrics(path / "metrics.jsonl")
    weights, validation = (curves.get(name, none) for name in ("kl_coeff", "val/neg_ll"))
    points = np.stack(validation, axis=1).tolist() or old["validation"]
    for step in sorted({*steps_kept(path, "kept"), *steps_kept(path, "best")} - set(measured)):
        weight = [None, *weights.values[weights.steps <= step].tolist()][-1]
        measured[step] = {
            **measure(path, step, config.num_sweeps),
            "training": {"kl_coeff": weight},
        }
        record = {
            "run": {"dataset": Path(config.dataset).stem, **run},
            "data_sha256": data_sha256,
            "validation": [(int(at), value) for at, value in points],
            "models": [measured[number] for number in sorted(measured)],
        }
        records.keep("long_runs", name, record)


def main() -> None:
    """Measures the given runs."""
    parser = records.parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    options = parser.parse_args()
    enable_compile_cache(compile_cache_directory())
    for path in options.runs:
        measure_run(path, options.again)


if __name__ == "__main__":
    main()
