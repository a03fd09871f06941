"""Timings of several programs side by side: interleaved repeats, medians, minima and ratios.

Other work on the machine disturbs any single timing. All programs therefore run in one process,
one after the other in each round, so that a disturbance meets them all; ratios are those of
medians and of minima over the rounds. Idle threads of a program (OpenMP's, OpenBLAS's) spin for a
while: each program rests until those of the one before are asleep, and is called some times before
the call that is timed, so that its own threads are awake.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

Program = Callable[[], Any]
_REST_SECONDS, _WARMING_CALLS = 0.1, 4


def seconds(program: Program) -> float:
    """Wall time of one call; the program returns only when its result is there."""
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


def interleaved(programs: dict[str, Program], repeats: int) -> dict[str, list[float]]:
    """`repeats` rounds of all programs after one call of each to compile: name -> seconds."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        program()
    for _ in range(repeats):
        for name, program in programs.items():
            time.sleep(_REST_SECONDS)
            for _ in range(_WARMING_CALLS):
                program()
            times[name].append(seconds(program))
    return times


def summary(
    times: dict[str, list[float]], floor: str, floors: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One row per program: median and least milliseconds, and both over those of the floor.

    The least median among `floor` and the other `floors` is the best floor; `best_ratio` is the
    median over it.
    """
    floor_median, floor_least = statistics.median(times[floor]), min(times[floor])
    best = min(statistics.median(times[name]) for name in (floor, *floors))
    rows = []
    for name, values in times.items():
        median, least = statistics.median(values), min(values)
        rows.append(
            {
                "program": name,
                "median_ms": 1e3 * median,
                "min_ms": 1e3 * least,
                "median_ratio": median / floor_median,
                "min_ratio": least / floor_least,
                "best_ratio": median / best,
                "repeats": len(values),
            }
        )
    return rows


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """A table; ratios are over the floor, and over the best of the floors."""
    print(f"\n{title}\n{'':34s}{'median':>10s}{'min':>10s}   over the floor: median, min, best")
    for row in rows:
        milliseconds = f"{row['median_ms']:10.2f}{row['min_ms']:10.2f} ms"
        ratios = f"{row['median_ratio']:12.2f}{row['min_ratio']:8.2f}{row['best_ratio']:8.2f}"
        print(f"{row['program']:34s}{milliseconds}{ratios}", flush=True)


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "processor": _processor(),
        "cpus": len(_cpus()),
        "gpus": details,
    }


def _cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write_json(path: str, results: dict[str, Any]) -> None:
    """The same numbers for a program to read."""
    Path(path).write_text(
        json.dumps({"machine": machine(), **results}, indent=1, allow_nan=False) + "\n",
        encoding="utf-8",
    )
