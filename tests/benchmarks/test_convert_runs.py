"""A finished run of commit 94648bd is converted, with its weights and chains as they were.

`old_run` was trained by that version, which kept a model at step 10; `expected.json` has what that
version found in its models.
"""

import filecmp
import json
import shutil
from pathlib import Path

import pytest

import dvae
from benchmarks import convert_runs
from configs.errors import UserError
from tables.results import read_tree

OLD = Path(__file__).with_name("old_run")
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    target = tmp_path_factory.mktemp("converted") / "run"
    convert_runs.convert(OLD, target)
    return target


def test_what_is_copied(converted):
    """Tensors, metrics and pictures byte for byte; no `latest`, with which a run would go on."""
    names = {path.name for path in converted.glob("checkpoints/*")}
    assert names == {"best-0000000040", "kept-0000000010"}
    for path in OLD.rglob("*"):
        inside = path.relative_to(OLD)
        if path.is_file() and path.suffix != ".json" and "latest" not in str(inside):
            assert filecmp.cmp(path, converted / inside, shallow=False), inside


def test_models_are_those_of_before(converted):
    best, kept = dvae.load(converted), dvae.load(converted, step=10)
    assert (best.step, kept.step) == (40, 10)
    assert best.log_partition().value == pytest.approx(EXPECTED["best"]["log_z"], abs=1e-4)
    assert kept.log_partition().value == pytest.approx(EXPECTED["kept"]["log_z"], abs=1e-4)
    old = json.loads((OLD / "result.json").read_text())
    for name in ("log_z_interval", "nll_interval"):  # of whose trust that version said nothing
        old[name] |= {"trusted": True, "reasons": []}
    assert {name: best.result[name] for name in old.keys() - {"checksum"}} == {
        name: value for name, value in old.items() if name != "checksum"
    }
    assert [result.directory for result in read_tree(converted).results] == [converted]


def test_the_old_run_itself_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"python -m benchmarks\.convert_runs") as error:
        dvae.load(OLD)
    assert "\n" not in str(error.value)
    assert "benchmarks.convert_runs" in read_tree(OLD).problems[0]


@pytest.mark.parametrize("name", ["config.json", "result.json", "checkpoints/best-0000000040"])
def test_what_does_not_belong_together_is_not_converted(tmp_path, name):
    """The marks of before are checked a last time."""
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    if name.startswith("checkpoints"):
        name += "/manifest.json"
    record = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(record | {"seed": 9, "owner": "0" * 64}))
    with pytest.raises(UserError):
        convert_runs.convert(path, tmp_path / "new")


def test_an_unfinished_run_is_not_converted(tmp_path):
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    (path / "result.json").unlink()
    with pytest.raises(UserError, match="not finished: end it with the version that began it"):
        convert_runs.convert(path, tmp_path / "new")
