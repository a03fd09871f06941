"""How every program of this project meets its user: flags in, errors out as one line."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from configs import errors
from configs.errors import UserError
from configs.files import path_errors
from configs.text import one_row

Main = Callable[[], int]

try:
    errors.check_system()
except UserError as unsupported:  # before anything that needs such a system is imported
    print(f"error: {unsupported}", file=sys.stderr)
    sys.exit(2)


class _Unfailing(io.FileIO):
    """A standard stream that takes what nobody reads any more or no disk has room for."""

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _keep_streams() -> None:
    """Lets standard output and error never fail: what cannot be shown ends no run.

    A closed one (`>&-`) leads nowhere; the next file that is opened would get its number, and what
    is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue  # whoever put another in its place looks after it
        options = {"encoding": "utf-8", "errors": "backslashreplace", "line_buffering": True}
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
            options = {name: getattr(stream, name) for name in (*options, "write_through")}
        raw = _Unfailing(descriptor, "wb", closefd=False)
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), **options))
    logging.get_absl_handler().python_handler.setStream(sys.stderr)  # it took the one of before


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
            if rest[1].startswith("\ufeff"):
                raise UserError("a flag file starts with a byte-order mark: save it without one")
            shown = repr(rest[1][:80])
            raise UserError(f"unexpected argument {shown}: flags are written --name=value")
        _check_text()
    except UnicodeError as error:
        _fail(UserError(f"a flag file is no text in UTF-8 ({error})"))
    # A flag file may be missing or of endless nesting.
    except (flags.Error, UserError, OSError, RecursionError) as error:
        _fail(error)


def guarded(main: Main) -> None:
    """Runs `main` and exits with its code; a UserError or OSError is one line and code 2."""
    try:
        with path_errors():
            code = main()
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:  # before training watches for signals: nothing is lost
        print("stopped by SIGINT; the same command starts again", file=sys.stderr)
        code = 130
    sys.exit(code)


def start(main: Main) -> None:
    """The life of a program: flags, `main`, exit code."""
    _keep_streams()
    # TensorFlow greets a machine without a GPU with lines that look like errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # --help shows text and flags of the main module, which a console script is not.
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for flag in flags.FLAGS.get_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(lambda _: guarded(main), flags_parser=parse)
