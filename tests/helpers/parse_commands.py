"""Parses command lines of our programs and runs nothing: a JSON list of them comes on stdin.

Prints what is wrong with each that is refused.
"""

import contextlib
import io
import json
import sys

from absl.testing import flagsaver

from configs import command_line
from configs.errors import UserError


def _program(name):
    """Checks the flags that were parsed, by the program's own checks."""
    if name == "train_rbm":
        from examples import train_rbm

        return lambda: [command_line.value(setting) for setting in train_rbm.SETTINGS]
    import run
    import run_table
    from configs.settings import SETTINGS

    if name == "run_table":
        run_table.define_log_dirs()
        return lambda: (run_table._check_flags(), run_table._grid())

    def check():
        mode = run.FLAGS.mode
        command_line.check_known(SETTINGS.values(), mode, f"--mode={mode}")
        run.config_from_flags()

    return check


def main():
    check = _program(sys.argv[1])
    for words in json.load(sys.stdin):
        said = io.StringIO()
        try:
            with flagsaver.flagsaver(), contextlib.redirect_stderr(said):
                command_line.parse([sys.argv[1], *words])
                check()
        except (SystemExit, UserError) as error:
            print(" ".join(words), "|", said.getvalue().strip() or error)


if __name__ == "__main__":
    main()
