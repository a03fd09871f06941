"""The suite turns red on faults put into the code: a sample of those of `make test-faults`."""

import pytest

from tests.faults.all import FAULTS
from tests.helpers.fault_runner import survived

# One of each kind, of those whose tests are quick.
SAMPLE = (
    "the sharpness of one cell of the table is another",
    "the best model is chosen by the test set",
    "the final numbers are of the last weights",
    "batch norm of the decoder uses moving averages in training",
    "all groups draw from one key in training",
    "no gradient flows through ζ into ν",
    "the learning rate is not heeded",
    "the binarisation has the key of the posterior",
    "the population sweeps at the old parameters",
    "the Gaussian integral's λ has a gradient",
    "validation images are trained on as well",
    "the error of the NLL is that of one image",
)


def test_names_are_unique_and_there_are_enough():
    names = [fault.what for fault in FAULTS]
    assert len(set(names)) == len(names) >= 60


def test_each_fits_the_code():
    """What it changes is found by its name, its tests are too, and pieces of source are there."""
    for fault in FAULTS:
        assert fault.caught_by()
        with pytest.MonkeyPatch.context() as patch:
            fault.inject(patch)


@pytest.mark.parametrize("what", SAMPLE)
def test_fault_is_noticed(what):
    """Every test that is meant for the fault runs to its assertion and fails it."""
    [fault] = [fault for fault in FAULTS if fault.what == what]
    assert survived(fault) == []
