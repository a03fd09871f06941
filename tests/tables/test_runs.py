"""run_table.py with real runs: interrupted and finished, it reports what it would have anyway."""

import re
import signal

import pytest

from tests.helpers import tiny_runs
from tests.helpers.table_process import finish, interrupt, report_of, start


def _arguments(data_path, log_dir, axes):
    return [
        f"--datasets={data_path}",
        f"--log_dir={log_dir}",
        "--structs=1-layer-lin",
        *axes,
        *tiny_runs.FLAGS,
    ]


@pytest.mark.slow
def test_2_by_2_cells_of_2_seeds_interrupted_twice(tmp_path):
    axes = ["--ks=1,2", "--baselines=dvaes_power,dvaepp_exp", "--seeds=0,1", "--jobs=2"]
    data_path = tiny_runs.write_data(tmp_path / "own.npz", grey=True)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, out = finish(start(_arguments(data_path, whole, axes)))
    assert code == 0, out
    arguments = _arguments(data_path, broken, axes)
    for number in (signal.SIGINT, signal.SIGTERM):
        interrupt(arguments, broken, number)
    code, out = finish(start(arguments))
    assert code == 0, out
    said = "".join(path.read_text() for path in broken.glob("output/*.txt"))
    assert "resumed at step" in said
    assert report_of(broken) == report_of(whole)


@pytest.mark.slow
def test_estimates_are_measured(tmp_path):
    data_path = tiny_runs.write_data(tmp_path / "own.npz", grey=True)
    axes = ["--ks=1", "--baselines=dvaes_power", "--seeds=0,1", "--dry_run", "--jobs=1"]
    code, out = finish(start(_arguments(data_path, tmp_path / "logs", axes)))
    assert code == 0, out
    lines = out.strip().splitlines()
    assert len(re.findall(r"seed\d: \d+\.\d\d h", out)) == 2
    total = re.search(r"2 runs to do: (\d+\.\d\d) h", lines[-1])
    assert total and 0.0 <= float(total[1]) < 1.0
    assert not (tmp_path / "logs").exists()
