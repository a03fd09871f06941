"""Tables as processes: started, interrupted, and what they report but for times."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TIMEOUT = 1500.0


def start(arguments, program=("run_table.py",), **environment):
    values = {name.upper(): str(value) for name, value in environment.items()}
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_XLA_FLAGS": "", **values},
    )


def finish(process):
    out, _ = process.communicate(timeout=_TIMEOUT)
    return process.returncode, out


def interrupt(arguments, log_dir, number):
    """Starts the table and stops it once a run of it has written a new checkpoint."""

    def checkpoints():
        return {path.parents[1] for path in log_dir.glob("**/checkpoints/latest-*")}

    before = checkpoints()
    process = start(arguments)
    end = time.monotonic() + _TIMEOUT
    while checkpoints() == before:
        assert process.poll() is None and time.monotonic() < end, finish(process)[1]
        time.sleep(0.02)
    process.send_signal(number)
    code, out = finish(process)
    assert code == 128 + number, out
    assert not list(log_dir.glob("**/lock.json"))


def report_of(log_dir):
    """The report without times: hours in each format."""
    text = {kind: (log_dir / f"report.{kind}").read_text() for kind in ("md", "tex", "html")}
    rows = (log_dir / "report.csv").read_text().splitlines()
    hours = rows[0].split(",").index("hours")
    text["csv"] = [[c for i, c in enumerate(row.split(",")) if i != hours] for row in rows]
    for kind in ("md", "tex", "html"):
        text[kind] = re.sub(r"hours 0\.\d+", "hours", text[kind])
    pictures = {path.name: path.read_bytes() for path in (log_dir / "plots").iterdir()}
    assert pictures
    return text, pictures
