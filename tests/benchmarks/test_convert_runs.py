"""Finished runs of earlier formats are converted, with their weights and chains as they were.

`old_run` was trained by commit 94648bd, which kept a model at step 10; `old_run_1` is that run in
format 1; `expected.json` has what those versions found in its models.
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

OLD, OLD_1 = (Path(__file__).with_name(name) for name in ("old_run", "old_run_1"))
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    target = tmp_path_factory.mktemp("converted") / "run"
    convert_runs.convert(OLD, target)
    return target


def test_what_is_copied(converted):
    """Metrics and pictures byte for byte; no `latest`, with which a run would go on."""
    names = {path.name for path in converted.glob("checkpoints/*")}
    assert names == {"best-0000000040", "kept-0000000010"}
    for path in OLD.rglob("*"):
        inside = path.relative_to(OLD)
        if path.is_file() and path.suffix != ".json" and "checkpoints" not in str(inside):
            assert filecmp.cmp(path, converted / inside, shallow=False), inside


@pytest.mark.parametrize("old", [OLD, OLD_1], ids=["94648bd", "format 1"])
def test_models_are_those_of_before(old, tmp_path):
    """Each weight and average in its place: the likelihood of the test images is that of before."""
    converted = tmp_path / "run"
    convert_runs.convert(old, converted)
    best, kept = dvae.load(converted), dvae.load(converted, step=10)
    assert (best.step, kept.step) == (40, 10)
    assert best.log_partition().value == pytest.approx(EXPECTED["best"]["log_z"], abs=1e-4)
    assert kept.log_partition().value == pytest.approx(EXPECTED["kept"]["log_z"], abs=1e-4)
    for name, model in (("best", best), ("kept", kept)):
        assert model.evaluate()["test_nll"] == pytest.approx(EXPECTED[name]["evaluate"], abs=1e-4)
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
@pytest.mark.parametrize("old", [OLD, OLD_1], ids=["94648bd", "format 1"])
def test_what_does_not_belong_together_is_not_converted(tmp_path, old, name):
    """The marks of before are checked a last time."""
    path = Path(shutil.copytree(old, tmp_path / "old"))
    if name.startswith("checkpoints"):
        name += "/manifest.json"
    record = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(record | {"seed": 9, "owner": "0" * 64}))
    with pytest.raises(UserError):
        convert_runs.convert(path, tmp_path / "new")


def test_damaged_tensors_are_not_converted(tmp_path):
    path = Path(shutil.copytree(OLD_1, tmp_path / "old"))
    [tensors] = (path / "checkpoints/best-0000000040").glob("tensors.data*")
    content = bytearray(tensors.read_bytes())
    content[100] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(UserError, match="does not match its checksum"):
        convert_runs.convert(path, tmp_path / "new")


def test_an_unfinished_run_is_not_converted(tmp_path):
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    (path / "result.json").unlink()
    with pytest.raises(UserError, match="not finished: end it with the version that began it"):
        convert_runs.convert(path, tmp_path / "new")
