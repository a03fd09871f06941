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


def work(indices):
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


def _read(indices, lines):
    """What a process of its own finds of some faults."""
    command = [sys.executable, "-m", "tests.faults", f"--worker={','.join(map(str, indices))}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as worker:
        for line in worker.stdout:
            print(line, end="", flush=True)
            lines.append(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work([int(index) for index in options.worker.split(",")])
        return 0
    words = options.words or [""]
    chosen = [i for i, fault in enumerate(FAULTS) if any(word in fault.what for word in words)]
    start, lines = time.monotonic(), []
    parts = [chosen[part :: options.processes] for part in range(options.processes)]
    readers = [threading.Thread(target=_read, args=(part, lines)) for part in parts if part]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for what, why in EQUIVALENT.items():
        print(f"equivalent: {what}: {why}")
    caught = sum(line.startswith("caught") for line in lines)
    # One that ended its process without a verdict counts as a survivor too.
    counts = f"{len(chosen)} faults, {caught} caught, {len(chosen) - caught} survivors"
    print(f"{counts}, {time.monotonic() - start:.0f} s")
    return 0 if chosen and caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
