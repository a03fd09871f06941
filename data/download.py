"""Downloads a file so that an interruption costs nothing and a damaged file never gets its name.

The bytes go to FILE.part beside the file. Whoever is interrupted leaves it there, and the next
attempt (of this process or a later one) asks the server for the rest only. A complete file is
checked, its sha256 recorded in FILE.sha256, and renamed to FILE.
"""

import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from configs.errors import UserError
from data.files import checksum_path, one_line, record_checksum, recorded_checksum, sha256_of
from data.part_file import QueueError, made_directory, open_part, part_path, say

_BLOCK_BYTES = 1 << 16
_WORTH_RETRYING = frozenset({408, 425, 429})  # and all from 500 on
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class DownloadPolicy:
    """How patient a download is.

    Attributes:
      attempts: number of connections before giving up.
      first_wait: seconds before the second attempt; doubled before each further one.
      timeout: seconds without an answer, or with less than `min_bytes` of data, that end an
        attempt.
      min_bytes: see `timeout`; a server that drips single bytes must not hold us for days.
      max_bytes: a longer file is refused.
      max_queue: seconds to wait for another process that downloads the same file.
    """

    attempts: int = 4
    first_wait: float = 1.0
    timeout: float = 30.0
    min_bytes: int = 4096
    max_bytes: int = 1 << 30
    max_queue: float = 3600.0


class _Failed(Exception):
    """An attempt failed; `final` means that another would fail alike."""

    def __init__(self, reason: object, final: bool = False) -> None:
        super().__init__(one_line(reason))
        self.final = final


def download(
    url: str,
    path: Path,
    check: Callable[[Path], object],
    policy: DownloadPolicy | None = None,
) -> None:
    """Downloads `url` to `path`, which is complete and checked, or absent.

    If a sha256 is recorded beside `path` already (by an earlier download, or by the user), the
    new file must match it.

    Args:
      url: where the file is.
      path: where it shall be; directories are made.
      check: raises a UserError if the file at the given path is damaged; a damaged file is thrown
        away and counts as a failed attempt.
      policy: see `DownloadPolicy`.

    Raises:
      UserError: the file could not be had or not be written; the message names the file, the URL
        and where to put it.
    """
    policy = policy or DownloadPolicy()
    place = one_line(path)
    by_hand = f"fetch {url} by hand and put it there, or choose another --data_dir"
    try:
        with made_directory(path.parent), open_part(path, policy.max_queue) as part:
            if part is not None:
                _attempt_repeatedly(url, path, part, check, policy)
    except (_Failed, QueueError) as error:
        raise UserError(
            f"{place} is missing and cannot be downloaded ({error}); {by_hand}"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{place} is missing and cannot be written ({one_line(error)}); {by_hand}"
        ) from error


def _attempt_repeatedly(
    url: str,
    path: Path,
    part: BinaryIO,
    check: Callable[[Path], object],
    policy: DownloadPolicy,
) -> None:
    say(f"{path.name}: downloading {url}")
    for attempt in range(1, policy.attempts + 1):
        try:
            _receive(url, path.name, part, policy)
            _accept(path, part, check)
            return
        except _Failed as error:
            if error.final or attempt == policy.attempts:
                raise
            wait = policy.first_wait * 2 ** (attempt - 1)
            say(f"{path.name}: {error}; attempt {attempt + 1} of {policy.attempts} in {wait:g} s")
            time.sleep(wait)


def _receive(url: str, name: str, part: BinaryIO, policy: DownloadPolicy) -> None:
    """One connection: appends what is missing from `part`."""
    have = part.seek(0, os.SEEK_END)
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=policy.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _RANGE_NOT_SATISFIABLE and have:
                if error.headers.get("Content-Range") == f"bytes */{have}":
                    return  # we were stopped between the last byte and the check
                part.truncate(0)  # what we have is no beginning of what the server has
                raise _Failed("the server does not know the part that we have") from error
            final = error.code < 500 and error.code not in _WORTH_RETRYING
            raise _Failed(f"HTTP status {error.code} {error.reason}", final) from error
    except urllib.error.URLError as error:
        raise _Failed(error.reason) from error
    except (http.client.HTTPException, OSError) as error:
        raise _Failed(f"{type(error).__name__} {error}") from error
    with response:
        total = _total_bytes(response, have, part, policy)
        _copy(response, part, total, name, policy)


def _total_bytes(
    response: http.client.HTTPResponse, have: int, part: BinaryIO, policy: DownloadPolicy
) -> int | None:
    """Length of the whole file, if the server says it. Empties `part` if it must start over."""
    rest = response.headers.get("Content-Length", "")
    total = int(rest) if rest.isdecimal() else None
    if response.status == http.client.PARTIAL_CONTENT:
        sent = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not sent or int(sent.group(1)) != have:
            part.truncate(0)
            raise _Failed("the server sent another part than asked for")
        known = sent.group(2)
        total = int(known) if known != "*" else (total and have + total)
    elif have:
        part.truncate(0)  # the server ignored the range and sends all of it
    if total is not None and total > policy.max_bytes:
        raise _Failed(f"it has {total} bytes, more than is plausible", final=True)
    return total


def _copy(
    response: http.client.HTTPResponse,
    part: BinaryIO,
    total: int | None,
    name: str,
    policy: DownloadPolicy,
) -> None:
    have = part.seek(0, os.SEEK_END)
    since, arrived = time.monotonic(), 0
    with _progress_bar(name, have, total) as bar:
        while block := _read_block(response):
            part.write(block)
            bar.update(len(block))
            have += len(block)
            arrived += len(block)
            if have > policy.max_bytes:
                part.truncate(0)
                raise _Failed("it is longer than is plausible", final=True)
            if time.monotonic() - since > policy.timeout:
                if arrived < policy.min_bytes:
                    raise _Failed(f"only {arrived} bytes came in {policy.timeout:g} s")
                since, arrived = time.monotonic(), 0
    part.flush()
    if total is not None and have < total:
        raise _Failed(f"the connection ended after {have} of {total} bytes")
    if total is not None and have > total:
        part.truncate(0)
        raise _Failed(f"{have} bytes came instead of {total}")


def _progress_bar(name: str, have: int, total: int | None) -> tqdm:
    return tqdm(
        desc=name,
        initial=have,
        total=total,
        unit="B",
        unit_scale=True,
        mininterval=1.0,
        file=sys.stderr,
        leave=False,
    )


def _read_block(response: http.client.HTTPResponse) -> bytes:
    """What the network has, at most a block; its failures are not those of our disk."""
    try:
        return response.read1(_BLOCK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _Failed(f"{type(error).__name__} {error}") from error


def _accept(path: Path, part: BinaryIO, check: Callable[[Path], object]) -> None:
    """Checks the complete FILE.part, records its checksum and gives it its name."""
    expected = recorded_checksum(path)
    actual = sha256_of(part)
    if expected is not None and actual != expected:
        part.truncate(0)
        record = checksum_path(path).name
        raise _Failed(f"its sha256 is {actual}, but {expected} was recorded in {record}")
    try:
        check(part_path(path))
    except UserError as error:
        part.truncate(0)
        raise _Failed(f"what came is damaged: {error}") from error
    os.fsync(part.fileno())
    record_checksum(path, actual)
    os.replace(part_path(path), path)
