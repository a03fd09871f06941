"""The command line of run_table.py: plans, errors, estimates, comparison, insertion."""

import json
import subprocess
import sys
from pathlib import Path

from configs.tables import PUBLISHED_STATUS, TABLES, UNVERIFIED, Published, Setting, published_value
from tests.helpers import hand_made_results

ROOT = Path(__file__).parents[2]


def _process(*arguments):
    return subprocess.run(
        [sys.executable, "run_table.py", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
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
    for none in (
        wanted._replace(sampler="pcd"),
        wanted._replace(dataset="digits"),
        wanted._replace(k=2),
    ):
        assert published_value(none) is None


_BAD = {
    "--k=1": "--k is of run.py: a table takes --ks=",
    "--fresh": "--fresh is of run.py",
    "--ks=1,x": "--ks=1,x must be whole numbers",
    "--baselines=dvae_magic": "dvae_magic is unknown",
    "--seeds=1,1": "--seeds must name at least one value, and none twice",
    "--samplers=dwave": "--samplers=dwave is unknown",
    "--jobs=0": "--jobs=0 must be at least 1",
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
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            command_line.parse(["run_table.py", *line])
            command_line.guarded(run_table.main)
    except SystemExit as stop:
        ended.append([stop.code, said.getvalue()])
print(json.dumps(ended))
"""


def test_bad_flags_give_one_line(tmp_path):
    lines = [[f"--log_dir={tmp_path}/logs", *bad.split(" ")] for bad in _BAD]
    done = subprocess.run(
        [sys.executable, "-c", _MANY, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ended = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(ended) == len(_BAD)
    for (code, said), (bad, wanted) in zip(ended, _BAD.items(), strict=True):
        assert code == 2, (bad, said)
        last = said.strip().splitlines()[-1]
        assert last.startswith("error: ") and wanted in last, (bad, said)
        assert "Traceback" not in said
    assert not list(tmp_path.glob("**/result.json"))


def test_reports_compare_and_insert(tmp_path):
    for tree, shift in (("a", 0.0), ("b", 1.0)):
        for seed, noise in enumerate((0.0, 0.1, 0.2)):
            hand_made_results.write(tmp_path / tree, 90.0 + shift + noise, seed=seed)
    target = tmp_path / "text.md"
    target.write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
    one = _process("--report_only", f"--log_dir={tmp_path}/a", f"--insert_into={target}")
    assert one.returncode == 0, one.stderr
    text = target.read_text()
    assert text.startswith("before\n<!-- table: begin -->\n") and "old" not in text
    assert text.endswith("<!-- table: end -->\nafter\n")
    assert "90.10 ± 0.10" in text
    again = _process("--report_only", f"--log_dir={tmp_path}/a", f"--insert_into={target}")
    assert again.returncode == 0 and target.read_text() == text
    two = _process(
        "--report_only",
        *(f"--log_dir={tmp_path}/{tree}" for tree in "ab"),
        f"--report_dir={tmp_path}/out",
    )
    assert two.returncode == 0, two.stderr
    assert "| 90.10 ± 0.10 | 91.10 ± 0.10 | 3, 3 | +1.00 | +12.2 | < 0.001 | seeds |" in two.stdout
    for kind in ("md", "csv", "tex", "html"):
        assert (tmp_path / "out" / f"comparison.{kind}").exists()
