"""Expectations that faults are judged by: what breaks is a test that failed."""

from contextlib import contextmanager

import pytest

from configs.errors import UserError


@contextmanager
def works(*kinds):
    """Fails the test when what is inside raises one of these."""
    try:
        yield
    except kinds as error:
        pytest.fail(f"{type(error).__name__}: {error}")


@contextmanager
def refused(words="", kind=UserError):
    """Wants an error of one line with these words, a pattern."""
    with pytest.raises(kind, match=words or None) as caught:
        yield caught
    assert len(str(caught.value).splitlines()) == 1
