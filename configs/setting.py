"""What is to be known of a setting, and the check of its values."""

import numbers
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError, name_of

# Steps are counted in 32 bits. Sizes beyond these fit into no machine's memory.
MAX_STEPS, MAX_SIZE = 2**31 - 1, 10**7
# Smallest normal and largest number of float32, in which everything is computed.
MIN_FLOAT, MAX_FLOAT = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127

_NO_MODES = ("table", "python")  # names in `known_by` that --mode does not have


@dataclass(frozen=True)
class Setting:
    """One setting.

    name: of the flag, the argument and the field.
    default: None where the papers, the data or the run itself decide: `unset` says how.
    help: one line for people.
    kind: str, int, float, bool, tuple (whole numbers; [] of flags: names) or Path.
    known_by: modes of run.py that heed it; "table": run_table.py passes it on; "python": an
      argument of `dvae.train`. Of flags of run_table.py alone: its ways of working.
    decides: "training", "measurement" (which a finished run can be measured anew with), or
      "rounding" (nothing beyond it): these are fields of `ExperimentConfig`. None: no number.
    axis: the flag of run_table.py that takes its place.
    unset: what the default is, for people, where it is not `default`.
    field: default of the configuration's field where that of the flag is None.
    choices: the values allowed, where they are few and fixed.
    least, most: of numbers, both allowed.
    """

    name: str
    default: Any
    help: str
    kind: type
    known_by: Collection[str]
    decides: str | None = None
    axis: str | None = None
    unset: str | None = None
    field: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    @property
    def modes(self) -> list[str]:
        """The modes that know it."""
        return [name for name in self.known_by if name not in _NO_MODES]

    @property
    def field_type(self) -> type:
        """Type of the configuration's field: paths are text."""
        return str if self.kind is Path else self.kind

    @property
    def field_default(self) -> Any:
        """Value of the configuration's field where nothing is given."""
        return self.field if self.default is None else self.default

    def default_text(self) -> str:
        """What the default is, for people."""
        if self.unset is not None:
            return self.unset
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else f"{self.default}"

    def checked(self, value: Any) -> Any:
        """The value as plain Python of this kind, in its range. Raises UserError in one line."""
        if value is None and self.default is None:
            return None
        if self.kind is tuple:
            return self._checked_numbers(value)
        plain = _plain(self.kind, value)
        if plain is None:
            kind = "str or path" if self.kind is Path else self.kind.__name__
            whole = self.kind is int and isinstance(value, float) and value.is_integer()
            raise UserError(
                f"{name_of(self.name)} is {value_text(value)}, not of type {kind}"
                + (f": write {value_text(int(value))}" if whole else "")
            )
        if self.choices and plain not in self.choices:
            raise UserError(
                f"{name_of(self.name)}={value_text(plain, quotes=False)} is unknown; choose "
                f"one of: {', '.join(self.choices)}"
            )
        self._check_range(plain)
        return plain

    def _checked_numbers(self, values: Any) -> tuple[int, ...]:
        many = not isinstance(values, str | bytes) and hasattr(values, "__iter__")
        plain = [_plain(int, value) for value in values] if many else [None]
        if None in plain:
            raise UserError(
                f"{name_of(self.name)} is {value_text(values)}; it must be a list of whole numbers"
            )
        for value in plain:
            self._check_range(value)
        return tuple(sorted(set(plain)))

    def _check_range(self, value: Any) -> None:
        least, most = self.least, self.most
        above, below = least is None or value >= least, most is None or value <= most
        if above and below:
            return
        if least == MIN_FLOAT:
            bounds = f"positive and at most {most:.3g}"
        elif not above or most is None:
            bounds = f"at least {least:g}"
        else:
            bounds = f"at most {most:g}" if isinstance(most, float) else f"at most {most}"
        raise UserError(f"{name_of(self.name)}={value_text(value, quotes=False)} must be {bounds}")


def _plain(kind: type, value: Any) -> Any:
    """The value as the built-in type `kind` (of a path: text, ~ expanded); None if it is none."""
    if kind is Path and isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        return os.path.expanduser(path) if isinstance(path, str) else None
    if kind in (str, bool):
        return value if isinstance(value, kind) else None
    number = {int: numbers.Integral, float: numbers.Real}.get(kind)
    if number is None or isinstance(value, bool) or not isinstance(value, number):
        return None
    try:
        return kind(value)
    except OverflowError:  # a whole number beyond all floats: its range is complained of
        return float("inf") if value > 0 else float("-inf")


def value_text(value: Any, quotes: bool = True) -> str:
    """A value on one line of readable length, as Python writes it or, after a "=", as flags do."""
    try:
        short = isinstance(value, float) and not quotes
        text = " ".join((f"{value:g}" if short else repr(value)).split())
    except ValueError:  # of thousands of digits
        text = "a number of thousands of digits"
    if isinstance(value, str) and not quotes:
        text = text[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."


def markdown_of(settings: Iterable[Setting], modes: str) -> str:
    """A table of flags. modes: the heading of the column that says what knows a flag."""
    lines = [f"| flag | default | {modes} | meaning |", "|---|---|---|---|"]
    for setting in settings:
        default = setting.default_text()
        code = f"`{default}`" if setting.unset is None else default
        meaning = setting.help.replace("<", "&lt;")
        lines.append(f"| `--{setting.name}` | {code} | {', '.join(setting.modes)} | {meaning} |")
    return "\n".join(lines) + "\n"
