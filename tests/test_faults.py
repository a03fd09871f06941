"""The suite turns red on faults put into the code: a sample of those of `make test-faults`."""

import pytest

from tests.faults.all import FAULTS
from tests.helpers.fault_runner import survived

# One of each kind whose tests are quick.
SAMPLE = ()


def test_names_are_unique_and_there_are_enough():
    names = [fault.what for fault in FAULTS]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("what", SAMPLE)
def test_fault_is_noticed(what):
    """Every test that is meant for the fault runs to its assertion and fails it."""
    [fault] = [fault for fault in FAULTS if fault.what == what]
    assert survived(fault) == []
