"""How every program of this project meets its user: flags in, errors out as one line."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from configs import errors, signals
from configs.errors import UserError
from configs.files import path_errors, read_bytes
from configs.programs import as_started
from configs.setting import Setting
from configs.text import one_row

Main = Callable[[], int]
_MAX_FLAG_BYTES = 1 << 20

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they are those of whoever calls `define`
_DEFINE = {
    str: flags.DEFINE_string,
    Path: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    tuple: flags.DEFINE_list,
    list: flags.DEFINE_list,
}
_HELP = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull")

try:
    errors.check_system()
except UserError as unsupported:  # before anything that needs such a system is imported
    print(f"error: {unsupported}", file=sys.stderr)
    sys.exit(2)


class _Unfailing(io.FileIO):
    """A standard stream whose writes never fail, though nobody reads it or the disk is full."""

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _keep_streams() -> None:
    """Makes standard output and error unable to fail, so that no run ends for want of a terminal.

    A closed one (`>&-`) is opened on /dev/null; or else the next file that is opened would get its
    number, and receive what is printed.
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
            options["errors"] = "backslashreplace"  # old terminals know no ±
        raw = _Unfailing(descriptor, "wb", closefd=False)
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), **options))
    logging.get_absl_handler().python_handler.setStream(sys.stderr)  # it has kept the old one


def define(settings: Iterable[Setting]) -> None:
    """Makes a flag of each setting."""
    for setting in settings:
        default = list(setting.default) if setting.kind is tuple else setting.default
        if setting.choices:
            flags.DEFINE_enum(setting.name, default, setting.choices, setting.help)
        elif setting.name in FLAGS:  # absl's own, such as log_dir
            FLAGS.set_default(setting.name, default)
        else:
            _DEFINE[setting.kind](setting.name, default, setting.help)


def given(setting: Setting) -> bool:
    """Whether a flag stood on the command line or in a flag file."""
    return bool(FLAGS[setting.name].present)


def value(setting: Setting) -> Any:
    """The value of a flag, checked; ~ in paths is expanded. Raises UserError."""
    found = FLAGS[setting.name].value
    if setting.kind is tuple:
        try:
            found = [int(text) for text in found]
        except ValueError:
            raise UserError(f"--{setting.name}={','.join(found)} must be whole numbers") from None
    return setting.checked(found)


def check_known(settings: Iterable[Setting], mode: str, flag: str) -> None:
    """Raises UserError for a flag that was given and that the mode does not heed.

    Args:
      settings: whose flags are looked at.
      mode: as in `known_by`.
      flag: what chooses it, such as "--mode=evaluate".
    """
    for setting in settings:
        if given(setting) and mode not in setting.known_by:
            raise UserError(
                f"{flag} does not know --{setting.name}, which is of {', '.join(setting.modes)}: "
                "leave it out, or choose one of these"
            )


def _fail(error: Exception) -> None:
    text = error.text("--") if isinstance(error, UserError) else str(error)
    print(f"error: {one_row(text)}", file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 2))


def _check_text() -> None:
    """Raises UserError for a flag with the character that no path and no name can have."""
    for name, value in FLAGS.flag_values_dict().items():
        if isinstance(value, str) and "\0" in value:
            raise UserError(f"--{name}={value[:80]!r} holds characters that are not text")


def _check_flag_files(arguments: Sequence[str]) -> None:
    """Reads the flag files that are named, and those that they name, before absl does.

    absl would wait for ever where one of them is a pipe.

    Raises:
      UserError: one is no regular file.
    """
    waiting, read = list(arguments), set[str]()
    while waiting:
        name, given, value = waiting.pop(0).strip().lstrip("-").partition("=")
        if name != "flagfile":
            continue
        path = os.path.expanduser(value if given or not waiting else waiting.pop(0)).strip()
        if path and path not in read:
            read.add(path)
            content = read_bytes(Path(path), _MAX_FLAG_BYTES, may_be_empty=True)
            waiting += content.decode(errors="replace").splitlines()


def parse(argv: Sequence[str]) -> None:
    """Parses flags and flag files; what is wrong with them ends the program with code 2."""
    try:
        _check_flag_files(argv)
        rest = FLAGS(list(argv))
        if len(rest) > 1:
            if rest[1].startswith("\ufeff"):
                raise UserError("a flag file starts with a byte-order mark: save it without one")
            name = repr(rest[1][:80])
            raise UserError(f"unexpected argument {name}: flags are written --name=value")
        _check_text()
    except UnicodeError as error:
        _fail(UserError(f"a flag file is no text in UTF-8 ({error})"))
    # A flag file may be missing or of endless nesting.
    except (flags.Error, UserError, OSError, RecursionError) as error:
        _fail(error)


def guarded(main: Main) -> None:
    """Runs `main` and exits with its code; a UserError (2 or 3) or OSError (2) is one line."""
    try:
        with path_errors():
            code = main()
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt as stop:  # before training watches for signals: nothing is lost
        name = str(stop) if str(stop) in signal.Signals.__members__ else "SIGINT"
        print(f"stopped by {name}; the same command starts again", file=sys.stderr)
        code = 128 + signal.Signals[name]
    sys.exit(code)


def help_text(about: str, settings: Iterable[Setting]) -> str:
    """What --help prints: examples and purpose of a program, then its flags."""
    lines = [about.strip(), "", "Flags:"]
    for setting in settings:
        lines += [f"  --{setting.name} ({setting.default_text()})", f"      {setting.help}"]
    return as_started("\n".join(lines))


def start(main: Main, about: str, settings: Sequence[Setting]) -> None:
    """The life of a program: flags, `main`, exit code.

    Args:
      main: what it does once its flags are parsed.
      about: examples, then what it is for, of --help.
      settings: whose flags --help shows.
    """
    _keep_streams()
    if any(argument in _HELP for argument in sys.argv[1:]):
        print(help_text(about, settings))
        sys.exit(0)
    signals.receive()
    app.run(lambda _: guarded(main), flags_parser=parse)
