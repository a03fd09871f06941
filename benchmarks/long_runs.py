"""Do the chains still sample the prior after long training? Measured on the kept models of runs.

    python -m benchmarks.long_runs RUN_DIR ...    measures every kept model not measured yet
    python -m benchmarks.long_runs                only writes the page again

Of a run directory the models of `--keep_steps` and the best one are measured; no data are needed,
and the run may still be going on: nothing is written to it. Results are kept in
benchmarks/results/long_runs/ as JSON, one file a run; the figures, the table and the plots of
docs/long_runs.md are made from them.
"""

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from benchmarks import long_runs_page
from benchmarks.long_runs_measures import measure, steps_kept
from dvae.runs.compile_cache import compile_cache_directory, enable_compile_cache
from dvae.runs.json_files import write_json
from dvae.runs.model_card import model_name
from dvae.runs.records import read_config

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


def measure_run(path: Path, again: bool) -> None:
    """Measures what is new of a run, and keeps it model by model."""
    config, data_sha256 = read_config(path)
    name = f"{model_name(config)}-{config.num_train_iter}-seed{config.seed}"
    target = RESULTS / f"{name}.json"
    old: Record = {"models": [], "validation": []}
    if target.exists():
        old = json.loads(target.read_text(encoding="utf-8"))
    measured = {} if again else {model["step"]: model for model in old["models"]}
    fields = ("struct", "baseline", "k", "sampler", "seed", "num_train_iter")
    run = {field: getattr(config, field) for field in fields}
    weights = read_curve(path, "kl_coeff")
    for step in sorted({*steps_kept(path, "kept"), *steps_kept(path, "best")}):
        if step not in measured:
            weight = [None, *(value for at, value in weights if at <= step)][-1]
            measured[step] = {**measure(path, step), "training": {"kl_coeff": weight}}
        record = {
            "run": {"dataset": Path(config.dataset).stem, **run},
            "data_sha256": data_sha256,
            "validation": read_curve(path, "val/neg_ll") or old["validation"],
            "models": [measured[number] for number in sorted(measured)],
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
    options = parser.parse_args()
    enable_compile_cache(compile_cache_directory())
    for path in options.runs:
        measure_run(path, options.again)
    long_runs_page.write(RESULTS, ROOT)


if __name__ == "__main__":
    main()
