"""Puts in all faults, one at a time, and prints those that the tests did not see.

python -m tests.faults [--processes N] [WORD ...]: only faults whose description has a word.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.faults.all import EQUIVALENT, FAULTS, judge


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", default=[""])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    start, words, caught = time.monotonic(), options.words, 0
    chosen = [i for i, fault in enumerate(FAULTS) if any(word in fault.what for word in words)]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for found in as_completed([pool.submit(judge, index) for index in chosen]):
            # What ends its process has no verdict, nor has what it would have judged next.
            died = found.exception()
            verdict = f"SURVIVED: {died!r}" if died else found.result()
            print(verdict, flush=True)
            caught += verdict.startswith("caught")
    for what, why in EQUIVALENT.items():
        print(f"equivalent: {what}: {why}")
    counts = f"{len(chosen)} faults, {caught} caught, {len(chosen) - caught} survivors"
    print(f"{counts}, {time.monotonic() - start:.0f} s")
    return 0 if chosen and caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
