"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """Something the user asked for cannot be done.

    The message is one line that says what is wrong and what to do. `run.py` prints it and exits
    with code 2; a traceback is for bugs only. From Python it is a ValueError.
    """
