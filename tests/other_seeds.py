"""Runs every statistical test of the given modules on other seeds: python -m tests.other_seeds.

A statistical test is a test function with a default for its argument `seed`; each of its pytest
parameters counts as a test of its own. Prints failures out of the number of seeds. Modules are
those of tests/samplers, or by their path below tests.
"""

import argparse
import importlib
import inspect
import itertools
import time
from collections.abc import Iterator

import pytest

MODULES = [
    *("energy_models", "diagnostics", "row_rbms", "population_annealing", "tempering"),
    *("boltzmann", "gibbs", "counter_random", "independence"),
]


def cases(function) -> Iterator[dict]:
    """The keyword arguments that pytest would call a function with."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    axes = []
    for mark in marks:
        names = [name.strip() for name in mark.args[0].split(",")]
        values = [value if len(names) > 1 else (value,) for value in mark.args[1]]
        axes.append([dict(zip(names, value, strict=True)) for value in values])
    for combination in itertools.product(*axes):
        yield {name: value for part in combination for name, value in part.items()}


def statistical_tests(name: str) -> Iterator[tuple]:
    """(name, function) of those of a module."""
    place = name if "." in name else f"samplers.test_{name}"
    module = importlib.import_module(f"tests.{place}")
    for test, function in inspect.getmembers(module, inspect.isfunction):
        if test.startswith("test_") and "seed" in inspect.signature(function).parameters:
            yield test, function


def fixtures(function, patch: pytest.MonkeyPatch) -> dict:
    """What a test wants of pytest itself."""
    names = inspect.signature(function).parameters
    return {name: patch for name in names if name == "monkeypatch"}


def failures(function, arguments: dict, seeds: range) -> list[int]:
    failed = []
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            try:
                function(**arguments, **fixtures(function, patch), seed=seed)
            except AssertionError:
                failed.append(seed)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--first", type=int, default=1001)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.count)
    for name in options.modules:
        for test, function in statistical_tests(name):
            for arguments in cases(function):
                start = time.process_time()
                failed = failures(function, arguments, seeds)
                seconds = time.process_time() - start
                label = f"{name}: {test} {arguments or ''}"
                print(f"{len(failed)}/{len(seeds)} {seconds:6.1f} s  {label} {failed}", flush=True)


if __name__ == "__main__":
    main()
