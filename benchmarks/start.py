"""Times the start of a training run: from the command to the end of its first step.

    python -m benchmarks.start --data_dir=datasets [--struct=...] [--repeats=5] [--json=FILE]
        [--against=CHECKOUT] [--textbook=NPZ]

Each repeat starts `run.py` twice with a new cache of compiled programs: the first start compiles,
the second finds its programs. Processor seconds are told beside wall time: on a machine with other
work they alone compare. --against alternates with another checkout, --textbook with
`benchmarks.textbook` on the images of a file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.start_phases import PARTS

ROOT = Path(__file__).parents[1]
KINDS = ("compiling", "from the cache")
_LIMIT_SECONDS = 900.0
# Of one start: seconds and processor seconds of each part.
Start = dict[str, tuple[float, float]]


def first_step(root: Path, folder: Path, cache: Path, flags: list[str]) -> Start:
    """Starts a fresh run of a checkout and lets it take its first step."""
    ends = folder / "ends.json"
    own = [f"--log_dir={folder}", f"--compile_cache={cache}"]
    command = [sys.executable, str(Path(__file__).with_name("start_phases.py")), str(ends)]
    with (folder / "log").open("w", encoding="utf-8") as log:
        environment = {**os.environ, "START": str(time.time())}
        subprocess.run(
            [*command, *own, *flags],
            cwd=root,
            env=environment,
            stdout=log,
            stderr=log,
            timeout=_LIMIT_SECONDS,
        )
    if not ends.exists():
        raise SystemExit(
            f"the run did not start:\n{(folder / 'log').read_text(encoding='utf-8')[-2000:]}"
        )
    found, before = json.loads(ends.read_text(encoding="utf-8")), (0.0, 0.0)
    parts: Start = {}
    for part in sorted(PARTS, key=found.get):  # checkouts differ in their order
        parts[part] = tuple(end - start for end, start in zip(found[part], before, strict=True))
        before = found[part]
    return parts


def textbook(images: str) -> Start:
    """Starts the textbook's program."""
    command = [sys.executable, str(Path(__file__).with_name("textbook.py")), images]
    used, start = sum(os.times()[2:4]), time.time()
    subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_SECONDS)
    return {"first step": (time.time() - start, sum(os.times()[2:4]) - used)}


def total(start: Start) -> tuple[float, float]:
    """Seconds and processor seconds of a start."""
    wall, used = zip(*start.values(), strict=True)
    return sum(wall), sum(used)


def measure(
    roots: list[Path], flags: list[str], repeats: int, images: str
) -> dict[str, list[Start]]:
    """All starts, by kind, followed by " before" for those of the second checkout."""
    starts: dict[str, list[Start]] = {}
    for _ in range(repeats):
        for root in roots:
            with tempfile.TemporaryDirectory() as name:
                for kind in KINDS:
                    folder = Path(name) / kind.replace(" ", "-")
                    folder.mkdir()
                    label = kind if root == roots[0] else f"{kind} before"
                    found = first_step(root, folder, Path(name) / "cache", flags)
                    starts.setdefault(label, []).append(found)
                    print(f"{label}: {total(found)[0]:.1f} s, {total(found)[1]:.1f} s", flush=True)
        if images:
            starts.setdefault("textbook", []).append(textbook(images))
    return starts


def print_table(starts: dict[str, list[Start]]) -> None:
    """Medians of each part, and quartiles of the whole: seconds and processor seconds."""
    for index, what in enumerate(("seconds", "processor seconds")):
        print(f"\n{what:24s}" + "".join(f"{part:>12s}" for part in PARTS) + f"{'total':>9s}")
        for label, found in starts.items():
            medians = [
                statistics.median(one.get(part, (0.0, 0.0))[index] for one in found)
                for part in PARTS
            ]
            totals = [total(one)[index] for one in found]
            line = "".join(f"{median:12.2f}" for median in medians)
            line += f"{statistics.median(totals):9.2f}"
            if len(totals) > 1:
                low, _, high = statistics.quantiles(totals, n=4, method="inclusive")
                line += f" ({low:.2f} to {high:.2f})"
            print(f"{label:24s}{line}")


def main() -> None:
    """Prints the table, and writes all numbers to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="binarized_mnist")
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--struct", default="1-layer-nonlin")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", metavar="CHECKOUT", help="another one, to alternate with")
    parser.add_argument("--textbook", default="", metavar="NPZ", help="training images")
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    flags = [f"--{name}={getattr(options, name)}" for name in ("dataset", "data_dir", "struct")]
    roots = [ROOT] if options.against is None else [ROOT, Path(options.against)]
    load = os.getloadavg()[0]
    starts = measure(roots, flags, options.repeats, options.textbook)
    print_table(starts)
    if options.json:
        seconds = {kind: [total(start)[0] for start in found] for kind, found in starts.items()}
        processor = {kind: [total(start)[1] for start in found] for kind, found in starts.items()}
        results: dict[str, Any] = {"struct": options.struct, "load_before": load}
        results |= {"seconds": seconds, "processor_seconds": processor, "starts": starts}
        timing.write_json(options.json, results)


if __name__ == "__main__":
    main()
