"""Downloads of published files: a file gets its name only with the published digest."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from configs.datasets import DatasetEntry
from configs.errors import UserError, name_of
from configs.files import exists, one_line

RETRIES = 2  # one second after the first failure, two after the second
TIMEOUT = 30.0  # seconds in which nothing comes
_CHUNK_BYTES = 1 << 16


def published_file(
    entry: DatasetEntry, url: str, data_dir: Path, suffixes: Sequence[str] = ()
) -> Path:
    """A published file, as it lies in DATA_DIR/FOLDER or in DATA_DIR, or else downloaded.

    Args:
      entry: of the data set: digest of the file, and the folder where downloads are kept.
      url: where it is published.
      data_dir: the data directory.
      suffixes: in place of the published one, in the order in which they are looked for.

    Raises:
      UserError: as `download`.
    """
    target = data_dir / entry.folder / url.rpartition("/")[2]
    for folder in (target.parent, data_dir):
        for suffix in suffixes or [target.suffix]:
            path = folder / target.with_suffix(suffix).name
            if exists(path):
                return path
    download(url, target, entry.files[url])
    return target


def has_files(entry: DatasetEntry, data_dir: Path) -> bool:
    """Whether one of its published files lies where `published_file` looks, in whatever form."""
    folders, stems = (data_dir / entry.folder, data_dir), (Path(url).stem for url in entry.files)
    return any(any(folder.glob(f"{stem}.*")) for stem in stems for folder in folders)


def remedy_of(url: str) -> str:
    """What helps against a damaged file."""
    return f"delete it to download it anew, or put there {url}"


def download(url: str, path: Path, digest: str) -> None:
    """Downloads `url` to `path`, which appears complete and as published, or not at all.

    Each process writes a temporary file of its own beside `path` and renames it at the end, so
    that several may start at once. What lies at `path` already is never replaced.

    Args:
      url: where the file is.
      path: where it shall be; directories are made.
      digest: the published one, `sha256:HEX` or `md5:HEX`.

    Raises:
      UserError: the file cannot be had, is not the published one, or cannot be written.
    """
    import pooch  # brings requests: half a second, and only downloads need it

    store = pooch.create(
        path.parent.absolute(),
        base_url="",
        registry={path.name: digest},
        urls={path.name: url},
        retry_if_failed=RETRIES,
        allow_updates=False,
    )
    pooch.get_logger().propagate = False  # it writes to stderr itself: once is enough

    def get(url: str, output: str, store: pooch.Pooch) -> None:
        """One attempt with a bar of its own: pooch's would stay open after a failure."""
        # A bar is falsy, and so left out, while its total is unknown: pooch sets the right one.
        with tqdm(desc=path.name, total=1, unit="B", unit_scale=True) as bar:
            options = {"chunk_size": _CHUNK_BYTES, "timeout": TIMEOUT}
            pooch.HTTPDownloader(progressbar=bar, **options)(url, output, store)

    try:
        store.fetch(path.name, downloader=get)
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors
        raise UserError(
            f"{one_line(path)} is missing and cannot be downloaded ({_reason(error)}); fetch {url} "
            f"by hand and put it there, or choose another {name_of('data_dir')}"
        ) from error
    with contextlib.suppress(OSError):
        path.chmod(0o644)  # temporary files are made for their owner alone


def _reason(error: Exception) -> str:
    """What went wrong, without the exceptions of urllib3 and requests around it."""
    inner = error.args[0] if error.args else error
    return one_line(getattr(inner, "reason", error))
