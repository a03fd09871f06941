"""The programs of an installation: dvae-run, which is also `python -m dvae`, and dvae-table."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _imported() -> Iterator[None]:
    """Ends with one line where another package has a name of ours, as PyTables has `tables`.

    Only an editable installation has names beside `dvae`.
    """
    try:
        yield
    except ImportError as error:
        sys.exit(f"error: {error}; beside packages of the same names, install without --editable")


def run() -> None:
    """run.py."""
    with _imported():
        from run import program
    program()


def table() -> None:
    """run_table.py."""
    with _imported():
        from run_table import program
    program()


if __name__ == "__main__":
    run()
