"""Puts one fault in, runs the tests that are meant for it in this process, and takes it out."""

import contextlib
import importlib
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tests.faults import OURS, fault

FOLDER = Path(__file__).parents[1]


class Verdicts:
    """A pytest plugin that notes which tests passed, failed an assertion, or broke otherwise."""

    def __init__(self):
        self.passed, self.failed, self.broken = [], [], []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        yield
        name = f"{item.path.relative_to(FOLDER)}::{item.nodeid.split('::', 1)[1]}"
        asserted = (AssertionError, pytest.fail.Exception)  # the latter: nothing was raised
        if call.excinfo is None:
            if call.when == "call":
                self.passed.append(name)
        elif call.when == "call" and call.excinfo.errisinstance(asserted):
            self.failed.append(name)
        else:
            self.broken.append(f"{name}: {call.excinfo.exconly()}")


def run_tests(names) -> Verdicts:
    """Runs tests of the suite by name with whatever is patched into this process."""
    verdicts = Verdicts()
    arguments = [f"{FOLDER}/{name}" for name in names]
    quiet = ["-q", "-s", "--no-header", "--no-summary", "-p", "no:cacheprovider"]
    pytest.main([*quiet, "-o", "addopts=", "-m", "", *arguments], plugins=[verdicts])
    return verdicts


@contextlib.contextmanager
def untraced():
    """Inside, no module remembers a traced function or a cached program; and again after it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] not in (*OURS, "tests"):
                continue
            for key, value in list(vars(module).items()):
                if name.startswith("tests."):
                    getattr(value, "cache_clear", lambda: None)()
                if hasattr(value, "python_function"):
                    again = tf.function(
                        value.python_function, jit_compile=value._jit_compile, autograph=False
                    )
                    patch.setattr(module, key, again)
        yield


def survived(fault: fault) -> list[str]:
    """What is wrong with a fault's tests: those that passed under it or broke without a verdict."""
    tests = fault.caught_by()
    for test in tests:  # a module that is first imported later would keep the fault
        importlib.import_module("tests." + test.split(".py::")[0].replace("/", "."))
    with untraced(), pytest.MonkeyPatch.context() as patch:
        fault.inject(patch)
        verdicts = run_tests(tests)
    with untraced():
        pass
    missing = set(tests) - set(verdicts.failed) - set(verdicts.passed)
    missing = {name for name in missing if not any(b.startswith(name) for b in verdicts.broken)}
    lines = [f"passed: {name}" for name in verdicts.passed]
    lines += [f"broke: {text}" for text in verdicts.broken]
    return lines + [f"not run: {name}" for name in sorted(missing)]
