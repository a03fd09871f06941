"""Times the start of a training run: from the command to the end of its first step.

    python -m benchmarks.start --data_dir=datasets [--struct=...] [--repeats=3] [--json=FILE]

Each repeat starts `run.py` twice with a new cache of compiled programs: the first start compiles,
the second finds its programs. The first step has ended when its checkpoint is on disk.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import timing

RUN = Path(__file__).parents[1] / "run.py"
_LIMIT_SECONDS = 600.0


def first_step(folder: Path, cache: Path, flags: list[str]) -> float:
    """Seconds until a fresh run has written the checkpoint of its first step; then stops it."""
    command = [sys.executable, str(RUN), f"--log_dir={folder}", f"--compile_cache={cache}"]
    start = time.perf_counter()
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--checkpoint_minutes=0", *flags], stdout=log, stderr=log
        )
    try:
        while not any(folder.glob("*/*/*/*/*/checkpoints/latest-*")):
            if process.poll() is not None or time.perf_counter() - start > _LIMIT_SECONDS:
                said = (folder / "log").read_text(encoding="utf-8")[-2000:]
                raise SystemExit(f"the run did not start:\n{said}")
            time.sleep(0.02)
        return time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def measure(flags: list[str], repeats: int) -> dict[str, Any]:
    """Seconds of every start, by whether programs had to be compiled."""
    seconds: dict[str, list[float]] = {"compiling": [], "from the cache": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            for kind, values in seconds.items():
                folder = Path(name) / kind.replace(" ", "-")
                folder.mkdir()
                values.append(first_step(folder, Path(name) / "cache", flags))
                print(f"{kind}: {values[-1]:.1f} s", flush=True)
    return seconds


def main() -> None:
    """Prints medians, and writes all numbers to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="binarized_mnist")
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--struct", default="1-layer-nonlin")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    flags = [f"--{name}={getattr(options, name)}" for name in ("dataset", "data_dir", "struct")]
    seconds = measure(flags, options.repeats)
    for kind, values in seconds.items():
        print(f"start to first step, {kind}: median {statistics.median(values):.1f} s")
    if options.json:
        timing.write_json(options.json, {"struct": options.struct, "seconds": seconds})


if __name__ == "__main__":
    main()
