"""Puts in all faults, one at a time, and prints those that the tests did not see.

python -m tests.faults [--processes N] [WORD ...]: only faults whose description has a word.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time

from tests.faults.all import EQUIVALENT, FAULTS


def work(indices: list[int]) -> None:
    """Judges faults in this process; a line for each, and more for each test that saw nothing."""
    from tests.helpers.fault_runner import survived

    for index in indices:
        start = time.monotonic()
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            try:
                lines = survived(FAULTS[index])
            except Exception as error:  # it does not fit the code any more
                lines = [f"cannot be put in: {error!r}"]
        verdict = "SURVIVED" if lines else "caught  "
        print(f"{verdict} {time.monotonic() - start:5.1f} s  {FAULTS[index].what}")
        print(*(f"    {line}\n" for line in lines), sep="", end="", flush=True)


def _read(command: list[str], lines: list[str]) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as worker:
        for line in worker.stdout:
            print(line, end="", flush=True)
            lines.append(line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work([int(index) for index in options.worker.split(",")])
        return 0
    chosen = [
        index
        for index, fault in enumerate(FAULTS)
        if not options.words or any(word in fault.what for word in options.words)
    ]
    start, lines, readers = time.monotonic(), [], []
    for part in range(min(options.processes, len(chosen))):
        mine = ",".join(map(str, chosen[part :: options.processes]))
        command = [sys.executable, "-m", "tests.faults", f"--worker={mine}"]
        readers.append(threading.Thread(target=_read, args=(command, lines)))
        readers[-1].start()
    for reader in readers:
        reader.join()
    for what, why in EQUIVALENT:
        print(f"equivalent: {what}: {why}")
    caught = sum(line.startswith("caught") for line in lines)
    seconds = time.monotonic() - start
    # One that ended its process without a verdict counts as a survivor too.
    survivors = len(chosen) - caught
    print(f"{len(chosen)} faults, {caught} caught, {survivors} survivors, {seconds:.0f} s")
    return 0 if chosen and caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
