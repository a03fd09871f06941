"""The programs of an installation: dvae-run, which is also `python -m dvae`, and dvae-table."""


def run() -> None:
    """run.py."""
    from run import program

    program()


def table() -> None:
    """run_table.py."""
    from run_table import program

    program()


if __name__ == "__main__":
    run()
