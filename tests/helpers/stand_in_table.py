"""A small table of stand-in runs: its plan, and a process that works through it."""

import sys
import time
from pathlib import Path

from configs.tables import Grid
from tables import driver
from tables.local import LocalExecutor
from tables.runs import PlannedRun
from tests.helpers import hand_made_results

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.helpers.stand_in_program"]
GRID = Grid(
    ("binarized_mnist",), ("1-layer-nonlin",), (1, 5), ("dvaes_power", "dvaes_exp"), ("pa",), (0, 1)
)
SMALL_GRID = GRID._replace(ks=(1,), seeds=(0,))


def plan(log_dir, grid=GRID):
    """The runs of a grid, seed after seed."""
    runs = []
    for seed in grid.seeds:
        for setting in grid.settings():
            config = hand_made_results.config_of(**setting._asdict(), seed=seed)
            flags = {**setting._asdict(), "seed": seed, "log_dir": log_dir}
            arguments = [f"--{name}={value}" for name, value in flags.items()]
            runs.append(PlannedRun(config, tuple(arguments), log_dir, ROOT))
    return runs


def wait_until(condition, seconds=180.0):
    """Raises TimeoutError where it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def main():
    log_dir = Path(sys.argv[1])
    grid = GRID if len(sys.argv) == 2 else SMALL_GRID
    executor = LocalExecutor([{}, {}], PROGRAM)
    return driver.run_missing(plan(log_dir, grid), executor, log_dir, log_dir, print)


if __name__ == "__main__":
    sys.exit(main())
