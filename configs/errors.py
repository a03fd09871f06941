"""The exceptions that mean: the user can mend this."""

_NAME = "\0"  # begins the name of a setting in a message; no path and no flag can hold it


def name_of(setting: str) -> str:
    """A setting's name within the message of a `UserError`, which each front end writes its way."""
    return _NAME + setting


class UserError(ValueError):
    """Something the user asked for cannot be done.

    The message is one line that says what is wrong and what to do. `run.py` prints it and exits
    with code 2; a traceback is for bugs only. From Python it is a ValueError, whose text names
    settings as arguments.
    """

    exit_code = 2

    def __str__(self) -> str:
        return self.text("")

    def text(self, prefix: str) -> str:
        """The message with a prefix before the name of each setting: "--" makes flags of them."""
        return super().__str__().replace(_NAME, prefix)


class UnknownName(UserError):
    """A name that stands for nothing here: `name`, as "struct=mine"; known: what may be chosen."""

    def __init__(self, name: str, known: str) -> None:
        super().__init__(f"{name} is unknown; choose one of: {known}")
        self.name = name


class NothingTrained(UserError):
    """A run has taken no update, or none that a result could be of: there is no number to show."""

    exit_code = 3


def check_system() -> None:
    """Raises UserError where there are no file locks and signals as Linux and macOS have them."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise UserError(
            "this program runs on Linux and macOS; on Windows, use it within WSL 2"
        ) from None
