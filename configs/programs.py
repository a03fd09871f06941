"""What our programs are called: by their files in the repository, by commands where installed."""

import sys
from pathlib import Path

_COMMANDS = {"run.py": "dvae-run", "run_table.py": "dvae-table"}


def as_started(text: str) -> str:
    """Text that speaks of `python run.py` or `run_table.py`, in the names that the user has."""
    # Installed, this module lies below `dvae`, unless that was done with --editable.
    installed = __name__.startswith("dvae.") or Path(sys.argv[0]).name in _COMMANDS.values()
    for file, command in _COMMANDS.items() if installed else ():
        text = text.replace(f"python {file}", command).replace(file, command)
    return text
