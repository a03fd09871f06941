"""Runs statistical tests on other seeds: python -m tests.other_seeds [--count=N] FILE ...

A statistical test has a default for its argument `seed`; any other is passed over. Prints on which
seeds each one fails.
"""

import argparse
import inspect
import sys
import time

import pytest


class OtherSeeds:
    """A pytest plugin that calls each statistical test once for each seed."""

    def __init__(self, seeds: range) -> None:
        self._seeds = seeds

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        test = pyfuncitem.obj
        if "seed" not in inspect.signature(test).parameters:
            pytest.skip("not statistical")
        given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        start, failed = time.process_time(), []
        for seed in self._seeds:
            try:
                test(**given, seed=seed)
            except AssertionError:
                failed.append(seed)
        seconds = time.process_time() - start
        print(f"{len(failed)}/{len(self._seeds)} {seconds:6.1f} s  {pyfuncitem.nodeid} {failed}")
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--first", type=int, default=1001)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.count)
    return pytest.main(["-q", "-s", "-m", "", *options.files], plugins=[OtherSeeds(seeds)])


if __name__ == "__main__":
    sys.exit(main())
