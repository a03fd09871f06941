"""The command line of run_table.py: plans, errors, comparison, insertion; and with real runs."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configs.tables import PUBLISHED_STATUS, TABLES, UNVERIFIED, Published, Setting, published_value
from tests.helpers import hand_made_results, tiny_runs
from tests.helpers.table_process import finish, interrupt, report_of, start

ROOT = Path(__file__).parents[2]


def _process(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, cwd=ROOT
    )


def test_grids_are_those_of_the_published_tables():
    first, second = list(TABLES[1].settings()), list(TABLES[2].settings())
    assert len(first) == len(set(first)) == 2 * 4 * 3 * 8
    assert len(second) == len(set(second)) == 2 * 4 * 3 * 2
    assert TABLES[1].seeds == TABLES[2].seeds == (0, 1, 2, 3, 4)
    assert {setting.baseline for setting in second} == {"dvaes_power"}
    assert {setting.sampler for setting in second} == {"pa", "pcd"}


def test_published_values_and_their_mark():
    assert "UNVERIFIED" in PUBLISHED_STATUS and UNVERIFIED == "unverified"
    for setting in TABLES[1].settings():
        value = published_value(setting)
        assert 80.0 < value.mean < 115.0 and 0.0 < value.deviation < 1.0, setting
    wanted = Setting("omniglot", "4-layer-nonlin", 25, "dvaes_power", "pa")
    assert published_value(wanted) == Published(98.88, 0.09)
    wanted = Setting("binarized_mnist", "1-layer-lin", 5, "dvaepp_exp", "pa")
    assert published_value(wanted) == Published(90.13, 0.03)
    for other in (dict(sampler="pcd"), dict(dataset="digits"), dict(k=2)):
        assert published_value(wanted._replace(**other)) is None


_BAD = {
    "--k=1": "--k is of run.py: a table takes --ks=",
    "--fresh": "--fresh is of run.py",
    "--report_only --num_train_iter=9": "--report_only runs nothing: leave --num_train_iter out",
    "--report_only --jobs=2": "--report_only does not know --jobs",
    "--dry_run --report_dir=x": "--dry_run does not know --report_dir",
    "--run_gpus=0.5": "--executor=local does not know --run_gpus",
    "--num_images=3": "--num_images is of run.py",
    "--datasets=a/own.npz,b/own.npz": "have one name, and so one run directory",
    "--ks=1,x": "--ks=1,x must be whole numbers",
    "--baselines=dvae_magic": "dvae_magic is unknown",
    "--seeds=1,1": "--seeds must name at least one value, and none twice",
    "--samplers=dwave": "--samplers=dwave is unknown",
    "--jobs=0": "--jobs=0 must be at least 1",
    "--jobs=1000000000": "--jobs=1000000000 must be at most",
    "--log_dir=b": "several are for --report_only",
    "--report_only": "there is no directory",
    "--executor=ray --ray_address=127.0.0.1:1": "no Ray cluster at --ray_address=127.0.0.1:1",
    "stray": "unexpected argument 'stray'",
}
# All command lines in one process: its imports take longer than all of them.
_MANY = """
import contextlib, io, json, sys
from absl import flags
import run_table
from configs import command_line
run_table.define_log_dirs()
ended = []
for line in json.loads(sys.argv[1]):
    flags.FLAGS.unparse_flags()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            command_line.parse(["run_table.py", *line])
            command_line.guarded(run_table.main)
    except SystemExit as stop:
        ended.append([stop.code, printed.getvalue()])
print(json.dumps(ended))
"""


def _bad_paths(folder):
    """Command lines with a path that cannot be, and a piece of it."""
    (folder / "file").write_text("in the way")
    tree = f"--log_dir={folder}/tree"
    hand_made_results.write(folder / "tree", 90.0)
    for path in ("n" * 300, f"{folder}/file/below"):
        yield [f"--log_dir={path}", "--seeds=0", "--ks=1"], path[:40]
        yield [f"--log_dir={path}", "--report_only"], path[:40]
        yield [tree, "--report_only", f"--report_dir={path}"], path[:40]
        yield [tree, "--report_only", f"--insert_into={path}"], path[:40]


def test_bad_flags_give_one_line(tmp_path):
    cases = [
        ([f"--log_dir={tmp_path}/logs", *bad.split(" ")], wanted) for bad, wanted in _BAD.items()
    ]
    cases += _bad_paths(tmp_path)
    lines = [line for line, _ in cases]
    done = _process("-c", _MANY, json.dumps(lines))
    assert done.returncode == 0, done.stderr[-2000:]
    ended = json.loads(done.stdout.strip().splitlines()[-1])
    for (code, printed), (bad, wanted) in zip(ended, cases, strict=True):
        assert code == 2, (bad, printed)
        last = printed.strip().splitlines()[-1]
        assert last.startswith("error: ") and wanted in last, (bad, printed)
        assert "Traceback" not in printed
    assert len(list(tmp_path.glob("**/result.json"))) == 1


def test_reports_compare_and_insert(tmp_path):
    for seed, noise in enumerate((0.0, 0.1, 0.2)):
        hand_made_results.write(tmp_path / "a", 90.0 + noise, seed=seed)
        hand_made_results.write(tmp_path / "b", 91.0 + noise, seed=seed)
    target = tmp_path / "text.md"

    def report(*flags, code=0):
        done = _process("run_table.py", "--report_only", f"--log_dir={tmp_path}/a", *flags)
        assert done.returncode == code, done.stderr
        return done

    target.write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
    report(f"--insert_into={target}")
    text = target.read_text()
    assert text.startswith("before\n<!-- table: begin -->\n") and "old" not in text
    assert text.endswith("<!-- table: end -->\nafter\n") and "90.10 ± 0.10" in text
    report(f"--insert_into={target}")
    assert target.read_text() == text
    assert "| 90.10 ± 0.14 | 2 |" in report("--seeds=0,2", "--ks=1").stdout
    none = report("--baselines=dvaes_gi", code=2)
    assert "no finished run of the settings" in none.stderr
    target.write_text("<!-- methods: begin -->\n<!-- methods: end -->\n")
    report("--table=3", f"--insert_into={target}")
    assert "90.10** ± 0.10 (3 seeds)" in target.read_text()
    two = report(f"--log_dir={tmp_path}/b", f"--report_dir={tmp_path}/out").stdout
    assert "| 90.10 ± 0.10 | 91.10 ± 0.10 | 3, 3 | +1.00 | +12.2 | < 0.001 | seeds |" in two
    for kind in ("md", "csv", "tex", "html"):
        assert (tmp_path / "out" / f"comparison.{kind}").exists()


def _arguments(data_path, log_dir, axes):
    places = [f"--datasets={data_path}", f"--log_dir={log_dir}", "--structs=1-layer-lin"]
    return [*places, *axes, *tiny_runs.FLAGS]


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
    printed = "".join(path.read_text() for path in broken.glob("output/*.txt"))
    assert "resumed at step" in printed
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
