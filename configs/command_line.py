"""How every program of this project meets its user: flags in, errors out as one line."""

import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from configs.errors import UserError
from configs.text import one_row

Main = Callable[[], int]


def _fail(error: Exception) -> None:
    print(f"error: {one_row(str(error))}", file=sys.stderr)
    sys.exit(2)


def _check_text() -> None:
    """Raises UserError for a flag with characters that no path and no name can have."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        if isinstance(value, str) and not value.isprintable():
            raise UserError(f"--{name}={value[:80]!r} holds characters that are not text")


def parse(argv: Sequence[str]) -> None:
    """Parses flags and flag files; what is wrong with them ends the program with code 2."""
    try:
        rest = flags.FLAGS(list(argv))
        if len(rest) > 1:
            shown = repr(rest[1][:80])
            raise UserError(f"unexpected argument {shown}: flags are written --name=value")
        _check_text()
    # A flag file may be missing, no text at all, or of endless nesting.
    except (flags.Error, UserError, UnicodeError, OSError, RecursionError) as error:
        _fail(error)


def guarded(main: Main) -> None:
    """Runs `main` and exits with its code; a UserError is one line and code 2."""
    try:
        code = main()
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:  # before training watches for signals: nothing is lost
        print("stopped by SIGINT; the same command starts again", file=sys.stderr)
        code = 130
    sys.exit(code)


def start(main: Main) -> None:
    """The life of a program: flags, `main`, exit code."""
    # TensorFlow greets a machine without a GPU with lines that look like errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # --help shows text and flags of the main module, which a console script is not.
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for flag in flags.FLAGS.get_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(lambda _: guarded(main), flags_parser=parse)
