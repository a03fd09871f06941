"""Which directory a run has: runs of one name but other settings lie side by side, never mixed."""

import re
from pathlib import Path

from configs.errors import UserError
from dvae.runs.records import RunConfig, read_config

_CONFIG = "config.json"


def places_of(path: Path) -> list[Path]:
    """Where runs of one name lie: PATH and PATH-2, PATH-3, ..., those that hold one."""
    try:
        beside = [place for place in path.parent.iterdir() if place.name.startswith(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    serial = re.compile(re.escape(path.name) + r"(?:-([2-9]|[1-9]\d+))?")
    found = {
        int(match[1] or 1): place
        for place in beside
        if (match := serial.fullmatch(place.name)) and (place / _CONFIG).exists()
    }
    return [found[number] for number in sorted(found)]


def differences(place: Path, run: RunConfig) -> str:
    """In what a run lies at a place that another would have: "seed: 0 there, 1 now; ..."; or "".

    Raises:
      UserError: its config.json cannot be read.
    """
    return run.differences(read_config(place).binding(), "now")


def place_for(path: Path, run: RunConfig, fresh: bool) -> Path:
    """The directory of a run: where it lies, or else the first free one.

    Args:
      path: of the first run of this name.
      run: what its config.json holds, or will.
      fresh: whether the run at `path` is to be moved aside, if this one is not there yet.

    Raises:
      UserError: it is nowhere, and the config.json of a run of this name cannot be read.
    """
    found, unreadable = places_of(path), None
    for place in found:
        try:
            if not differences(place, run):
                return place
        except UserError as error:
            unreadable = error
    if unreadable is not None and not fresh:
        raise unreadable
    serial, place = 1, path
    while place in found and not fresh:
        serial += 1
        place = path.with_name(f"{path.name}-{serial}")
    return place
