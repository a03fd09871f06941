"""Times the start of a training run: from the command to the end of its first step.

    python -m benchmarks.start --data_dir=datasets [--struct=...] [--repeats=5] [--keep]

Each repeat starts `run.py` twice with a new cache of compiled programs, which the second finds.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import pages, records

# run.py, which ends with the first call of its program, and loads what it loads when it does.
_PROGRAM = """
import functools, os, sys
sys.path.insert(0, os.getcwd())
import run
make = run._JOBS["train"]
def train(go):
    from dvae.train_step import TrainProgram
    first = TrainProgram.run
    TrainProgram.run = lambda *given: (first(*given), os._exit(0))
    return go()
run._JOBS["train"] = lambda: functools.partial(train, make())
run.program()
"""


def first_step(folder: Path, flags: list[str]) -> tuple[float, float]:
    """Seconds and processor seconds of a fresh run up to its first step."""
    command = [sys.executable, "-c", _PROGRAM, f"--compile_cache={folder / 'cache'}", *flags]
    command.append(f"--log_dir={tempfile.mkdtemp(dir=folder)}")
    used, start = sum(os.times()[2:4]), time.time()
    done = subprocess.run(
        command, cwd=records.ROOT, capture_output=True, encoding="utf-8", timeout=900
    )
    if done.returncode:
        raise SystemExit(f"the run did not start:\n{done.stderr[-2000:]}")
    return time.time() - start, sum(os.times()[2:4]) - used


def main() -> None:
    """Prints medians."""
    parser = records.parser(__doc__)
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--struct", default="1-layer-nonlin")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="keep the numbers for the page")
    options = parser.parse_args()
    flags = [f"--data_dir={options.data_dir}", f"--struct={options.struct}"]
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            for kind in ("compiling", "from the cache"):
                found.setdefault(kind, []).append(first_step(Path(name), flags))
    names = ("seconds", "processor_seconds")
    columns = {n: {k: [t[i] for t in v] for k, v in found.items()} for i, n in enumerate(names)}
    print(pages.start_table(columns))
    if options.keep:
        records.keep("performance", "start", {"struct": options.struct, **columns})


if __name__ == "__main__":
    main()
