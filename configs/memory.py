"""How much memory is free, so that what does not fit is refused before any of it is taken."""

import os
from collections.abc import Iterator
from pathlib import Path

from configs.errors import UserError


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _of_machine(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_folders(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Control groups of this process and those above: (folder, name of its limit, of its use)."""
    for line in _lines(root / "proc/self/cgroup"):
        controllers, place = [*line.split(":", 2), "", ""][1:3]
        if controllers == "":
            top, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = top / place.lstrip("/")
        while True:
            yield folder, limit, used
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent


def _of_groups(root: Path) -> Iterator[int]:
    for folder, limit, used in _group_folders(root):
        numbers = [_lines(folder / name)[:1] for name in (limit, used)]
        if not all(n and n[0].isdigit() for n in numbers):  # "max", or no such group
            continue
        most, taken = (int(n[0]) for n in numbers)
        # Pages of files count as taken, and are given back when they are needed.
        files = [line.split() for line in _lines(folder / "memory.stat")]
        given_back = sum(int(n) for name, n in files if name in ("inactive_file", "active_file"))
        yield max(0, most - max(0, taken - given_back))


def free_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: of the machine, and of a container's limit.

    root: of the file system that says it.
    """
    return min([_of_machine(root), *_of_groups(root)])


def require(needed: float, what: str, remedy: str, beside: int = 0) -> None:
    """Raises UserError when more bytes are needed than are free.

    Args:
      needed: in bytes.
      what: needs them; begins the message.
      remedy: what the user can do; ends the message.
      beside: bytes of other memory (of GPUs) that count as free.
    """
    free = free_bytes() + beside
    if needed > free:
        raise UserError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are "
            f"free: {remedy}"
        )
