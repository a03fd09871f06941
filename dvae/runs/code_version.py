"""Which code wrote a result.

It imports nothing of ours: setup.py asks it too.
"""

import functools
import hashlib
import json
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
# What decides the numbers of a run.
_SOURCES = (
    "run.py",
    *(f"{package}/**/*.py" for package in ("configs", "data", "dvae", "samplers")),
    "samplers/gpu_kernels/*.ttir",
)
INSTALLED = "code_version.json"  # beside this file: the version of the sources of an installation


@functools.cache
def code_version() -> dict[str, str | None]:
    """{"sources": first 12 hex digits of the digest of all sources, "commit": or None}.

    A commit with later changes ends in "+changes". Asked once for a process, so that a checkout
    beside a running process does not change what it reports. An installation has the version of the
    repository that it was built from.
    """
    installed = Path(__file__).with_name(INSTALLED)
    if installed.exists():
        return json.loads(installed.read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(f"{path.relative_to(_ROOT)}\n".encode())
            digest.update(path.read_bytes())
    return {"sources": digest.hexdigest()[:12], "commit": _commit()}


def version_name(version: dict[str, str | None]) -> str:
    """The commit, or the digest of the sources."""
    return str(version["commit"] or version["sources"])


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git here: the digest speaks alone
    return done.stdout.strip() if done.returncode == 0 else None


def _commit() -> str | None:
    # A tree unpacked inside another project's repository is not that project's commit.
    if _git("ls-files", "--error-unmatch", "run.py") is None:
        return None
    described = _git("describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+changes")
    return described or None
