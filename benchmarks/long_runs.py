"""Do the chains still sample the prior after long training? Measured on the kept models of runs.

    python -m benchmarks.long_runs RUN_DIR ...    measures every kept model not measured yet
    python -m benchmarks.long_runs                only writes the page again

Of a run directory the models of `--keep_steps` are measured, or its best one where none was kept;
no data are needed, and the run may still be going on: nothing is written to it. With --data_dir the
last kept model is also evaluated, by the run's own protocol. Results are kept in
benchmarks/results/long_runs/ as JSON, one file a run; docs/long_runs.md is made from them, and
README's lines on how far the runs are.
"""

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from benchmarks import long_runs_page, timing
from benchmarks.long_runs_measures import measure, steps_kept
from dvae.runs.compile_cache import compile_cache_directory, enable_compile_cache
from dvae.runs.json_files import write_json
from dvae.runs.model_card import model_name
from dvae.runs.records import checkpoint_place, read_bound, read_config
from dvae.runs.trained_model import TrainedModel

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "long_runs"

Record = dict[str, Any]


def read_curve(path: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of each line of a run's metrics.jsonl that holds a scalar."""
    points: list[tuple[int, float]] = []
    if not (path / "metrics.jsonl").exists():  # an exported model
        return points
    for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the torn last line of a run that goes on
            record = json.loads(line)
            if name in record:
                points.append((record["step"], record[name]))
    return points


def training_health(path: Path, step: int) -> Record:
    """Scalars of the last summary up to a step."""
    found = {}
    for name in ("sampler/ess", "sampler/surviving_families", "kl_coeff", "learning_rate"):
        earlier = [value for at, value in read_curve(path, name) if at <= step]
        found[name] = earlier[-1] if earlier else None
    return found


def evaluate(path: Path, step: int, data_dir: str) -> Record:
    """log Z and NLL of a kept model by the run's own protocol, and what its training took."""
    manifest = read_bound(checkpoint_place(path, "kept", step) / "manifest.json")
    found = TrainedModel(path, data_dir, step).evaluate()
    del found["protocol"]["data"]  # names places of this machine
    progress = {key: manifest["progress"][key] for key in ("train_seconds", "code")}
    return {**found, **progress, "machine": timing.machine()}


def measure_run(path: Path, again: bool, data_dir: str | None = None) -> None:
    """Measures what is new of a run, and keeps it model by model."""
    config, data_sha256 = read_config(path)
    name = f"{model_name(config)}-{config.num_train_iter}-seed{config.seed}"
    target = RESULTS / f"{name}.json"
    old = (
        json.loads(target.read_text(encoding="utf-8"))
        if target.exists() and not again
        else {"models": []}
    )
    measured = {model["step"]: model for model in old["models"]}
    fields = ("struct", "baseline", "k", "sampler", "seed", "num_train_iter")
    run = {field: getattr(config, field) for field in fields}
    kept = steps_kept(path, "kept")
    for step in kept or steps_kept(path, "best"):
        if step not in measured:
            measured[step] = measure(path, step)
        if data_dir and [step] == kept[-1:] and "evaluation" not in measured[step]:
            measured[step]["evaluation"] = evaluate(path, step, data_dir)
        record = {
            "run": {"dataset": Path(config.dataset).stem, **run},
            "data_sha256": data_sha256,
            "validation": read_curve(path, "val/neg_ll"),
            "last_step": max([*measured, *(at for at, _ in read_curve(path, "kl_coeff"))]),
            "models": [
                {**measured[number], "training": training_health(path, number)}
                for number in sorted(measured)
            ],
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_json(target, record)
        print(f"{name}: step {step} measured", flush=True)


def main() -> None:
    """Measures the given runs, and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--data_dir", help="of the run's data: evaluates its last kept model")
    options = parser.parse_args()
    enable_compile_cache(compile_cache_directory())
    for path in options.runs:
        measure_run(path, options.again, options.data_dir)
    long_runs_page.write(RESULTS, ROOT)


if __name__ == "__main__":
    main()
