"""The suite turns red on each fault of `tests/faults.py`, by the tests that are meant for it."""

import sys
from pathlib import Path

import pytest

from tests.faults import FAULTS
from tests.helpers.compiled_samplers import fresh_programs

FOLDER = Path(__file__).parent


class Verdicts:
    """A pytest plugin that notes which tests passed, failed an assertion, or broke otherwise."""

    def __init__(self):
        self.passed, self.failed, self.broken = [], [], []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        yield
        name = f"{item.path.name}::{item.nodeid.split('::', 1)[1]}"
        if call.excinfo is None:
            if call.when == "call":
                self.passed.append(name)
        elif call.when == "call" and call.excinfo.errisinstance(AssertionError):
            self.failed.append(name)
        else:
            self.broken.append(f"{name}: {call.excinfo.exconly()}")


def run_tests(names):
    """Runs tests of the suite by name, inside this process, with whatever is patched in it."""
    verdicts = Verdicts()
    arguments = [f"{FOLDER}/{name}" for name in names]
    quiet = ["-q", "-s", "--no-header", "--no-summary", "-p", "no:cacheprovider"]
    pytest.main([*quiet, "-o", "addopts=", "-m", "", *arguments], plugins=[verdicts])
    return verdicts


def forget_test_caches():
    """Test modules keep compiled programs in functools caches of their own."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tests."):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", lambda: None)()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.inject.__name__)
def test_fault_is_noticed(fault, monkeypatch):
    """Every test that is meant for the fault runs to its assertion and fails it."""
    with fresh_programs():
        forget_test_caches()
        fault.inject(monkeypatch)
        verdicts = run_tests(fault.caught_by)
        forget_test_caches()
    assert not verdicts.broken and not verdicts.passed
    assert sorted(verdicts.failed) == sorted(fault.caught_by)
