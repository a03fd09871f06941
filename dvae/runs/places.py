"""Which directory a run has: runs of one name but other settings lie side by side, never mixed."""

import re
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dvae.runs.records import read_json

_CONFIG = "config.json"


def places_of(path: Path) -> list[Path]:
    """Where runs of one name lie: PATH and PATH-2, PATH-3, ..., those that hold one."""
    try:
        beside = [place for place in path.parent.iterdir() if place.name.startswith(path.name)]
    except FileNotFoundError:
        return []
    serial = re.compile(re.escape(path.name) + r"(?:-([2-9]|[1-9]\d+))?")
    found = {
        int(match[1] or 1): place
        for place in beside
        if (match := serial.fullmatch(place.name)) and (place / _CONFIG).exists()
    }
    return [found[number] for number in sorted(found)]


def differences(place: Path, record: dict[str, Any]) -> list[str]:
    """What is other in a run's config.json than in the content that it would have.

    Raises:
      UserError: it cannot be read.
    """
    old = read_json(place / _CONFIG)
    names = [*record, *(name for name in old if name not in record)]
    return [
        f"{name}: {old.get(name, 'none')} there, {record.get(name, 'none')} now"
        for name in names
        if old.get(name) != record.get(name)
    ]


def place_for(path: Path, record: dict[str, Any], fresh: bool) -> Path:
    """The directory of the run with this config.json: where it lies, or else the first free one.

    Args:
      path: of the first run of this name.
      record: what its config.json holds, or will.
      fresh: whether the run at `path` is to be moved aside, if this one is not there yet.

    Raises:
      UserError: it is nowhere, and the config.json of a run of this name cannot be read.
    """
    found, unreadable = places_of(path), None
    for place in found:
        try:
            if not differences(place, record):
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
