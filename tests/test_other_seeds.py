"""Every statistical test of the modules that are listed can be run on other seeds."""

import inspect

import pytest

from tests import other_seeds


@pytest.mark.parametrize("name", other_seeds.MODULES)
def test_each_has_all_its_arguments(name, monkeypatch):
    found = list(other_seeds.statistical_tests(name))
    assert found
    for _, function in found:
        given = other_seeds.fixtures(function, monkeypatch)
        for arguments in other_seeds.cases(function):
            inspect.signature(function).bind(**arguments, **given, seed=2)


def test_failures_are_counted_by_their_seeds():
    def even(factor, monkeypatch, seed=1):
        monkeypatch.setenv("SEED", str(seed))
        assert factor * seed % 2

    assert other_seeds.failures(even, {"factor": 3}, range(10, 14)) == [10, 12]
