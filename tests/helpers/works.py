"""Expectations that faults are judged by: what breaks is a test that failed."""

from contextlib import contextmanager

import pytest


@contextmanager
def works(*kinds):
    """Fails the test when what is inside raises one of these."""
    try:
        yield
    except kinds as error:
        pytest.fail(f"{type(error).__name__}: {error}")
