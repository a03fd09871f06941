"""run_table.py with real runs: interrupted and finished, it reports what it would have anyway."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import tiny_run

ROOT = Path(__file__).parents[1]
_TIMEOUT = 1500.0


def _arguments(data_path, log_dir, axes):
    return [
        f"--datasets={data_path}",
        f"--log_dir={log_dir}",
        "--structs=1-layer-lin",
        *axes,
        "--num_train_iter=40",
        "--train_batchsize=10",
        "--summary_every=20",
        "--eval_every=20",
        "--eval_iw_samples=7",
        "--num_chains=20",
        "--num_sweeps=2",
        "--ais_temperatures=10",
        "--ais_chains=64",
        f"--compile_cache={ROOT}/build/xla-cache",
    ]


def _start(arguments):
    return subprocess.Popen(
        [sys.executable, "run_table.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_XLA_FLAGS": ""},
    )


def _finish(process):
    out, _ = process.communicate(timeout=_TIMEOUT)
    return process.returncode, out


def _interrupt(arguments, log_dir, number):
    """Starts the table and stops it once a run of it has written a new checkpoint."""

    def checkpoints():
        return {path.parents[1] for path in log_dir.glob("**/checkpoints/latest-*")}

    before = checkpoints()
    process = _start(arguments)
    end = time.monotonic() + _TIMEOUT
    while checkpoints() == before:
        assert process.poll() is None and time.monotonic() < end, _finish(process)[1]
        time.sleep(0.02)
    process.send_signal(number)
    code, out = _finish(process)
    assert code == 128 + number, out
    assert not list(log_dir.glob("**/lock.json"))


def _report(log_dir):
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


@pytest.mark.parametrize(
    ("axes", "numbers"),
    [
        (["--ks=1", "--baselines=dvaes_power", "--seeds=0"], (signal.SIGTERM,)),
        pytest.param(
            ["--ks=1,2", "--baselines=dvaes_power,dvaepp_exp", "--seeds=0,1", "--jobs=2"],
            (signal.SIGINT, signal.SIGTERM),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one run, one interruption", "2 x 2 cells, 2 seeds, two interruptions"],
)
def test_an_interrupted_table_reports_the_same(tmp_path, axes, numbers):
    data_path = tiny_run.write_data(tmp_path / "own.npz", grey=True)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, out = _finish(_start(_arguments(data_path, whole, axes)))
    assert code == 0, out
    arguments = _arguments(data_path, broken, axes)
    for number in numbers:
        _interrupt(arguments, broken, number)
    code, out = _finish(_start(arguments))
    assert code == 0, out
    said = "".join(path.read_text() for path in broken.glob("output/*.txt"))
    assert "resumed at step" in said
    assert _report(broken) == _report(whole)


def test_estimates_are_measured(tmp_path):
    data_path = tiny_run.write_data(tmp_path / "own.npz", grey=True)
    axes = ["--ks=1", "--baselines=dvaes_power", "--seeds=0,1", "--dry_run", "--jobs=1"]
    code, out = _finish(_start(_arguments(data_path, tmp_path / "logs", axes)))
    assert code == 0, out
    lines = out.strip().splitlines()
    assert len(re.findall(r"seed\d: \d+\.\d\d h", out)) == 2
    total = re.search(r"2 runs to do: (\d+\.\d\d) h", lines[-1])
    assert total and 0.0 <= float(total[1]) < 1.0
    assert not (tmp_path / "logs").exists()
