"""The files of a run are bound to each other: none of another run, or of before, is taken for its.

With two shipped models that differ in the method alone, and the run directory of a third.
"""

import json
import shutil
from pathlib import Path

import pytest

import data
import dvae
from configs.errors import UserError
from dvae.runs import commands, records
from dvae.runs.checkpoints import RunOptions
from dvae.runs.export import export_run

MODELS = Path(__file__).parents[2] / "models"
OURS, THEIRS = (
    MODELS / f"binarized_mnist-1-layer-nonlin-{method}-k1" for method in ("dvaes_power", "pwl")
)
DIGITS = MODELS / "digits-1-layer-nonlin-dvaes_power-k1"


def copied(source, tmp_path, *foreign):
    """A copy of a model with files of others: (name, the model that it is taken from)."""
    path = Path(shutil.copytree(source, tmp_path / "run"))
    for name, model in foreign:
        shutil.copyfile(model / name, path / name)
    return path


def changed(path, name, **fields):
    """Changes fields of a file of a run, whatever its checksum."""
    record = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(record | fields))


def test_a_result_of_another_run_is_refused_by_all_that_reads_one(tmp_path):
    path = copied(OURS, tmp_path, ("result.json", THEIRS))
    named = "result.json is of another run .*baseline: pwl there, dvaes_power here"
    with pytest.raises(UserError, match=named):
        export_run(path, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    with pytest.raises(ValueError, match=named):
        dvae.load(path).result  # noqa: B018


def test_a_finished_run_with_the_result_of_another_is_not_shown(tmp_path, capsys):
    path = copied(DIGITS, tmp_path, ("result.json", OURS))
    config = dvae.load(DIGITS).config
    with pytest.raises(UserError, match="dataset: binarized_mnist there, digits here"):
        commands.train_run(config, data.load(config.dataset, ""), path, False, RunOptions())
    assert "this run is finished" not in capsys.readouterr().out


def test_a_mean_that_is_not_that_of_the_data_is_refused(tmp_path):
    """It is part of the model: one pixel of it is enough."""
    path = copied(DIGITS, tmp_path)
    mean = json.loads((path / "data.json").read_text())["train_mean"]
    changed(path, "data.json", train_mean=[*mean[:-1], 0.5])
    with pytest.raises(ValueError, match=r"data\.json"):
        dvae.load(path)


def test_a_result_of_another_checkpoint_is_refused(tmp_path):
    """Of the same settings: say of an attempt on another machine."""
    path = copied(DIGITS, tmp_path)
    [best] = (path / "checkpoints").glob("best-*")
    manifest = records.read_bound(best / "manifest.json")
    identity = manifest.pop("identity")
    tensors = {name: "0" * 64 for name in manifest["sha256"]}
    records.write_bound(best / "manifest.json", manifest | {"sha256": tensors}, identity)
    with pytest.raises(UserError, match="of another best-0000009000 than the one beside it"):
        records.read_result(path / "result.json")
    best.rename(best.with_name("best-0000000020"))
    with pytest.raises(UserError, match="of best-0000009000, and not of best-0000000020"):
        records.read_result(path / "result.json")


@pytest.mark.parametrize("name", ["config.json", "data.json", "result.json"])
def test_another_format_is_refused_in_one_line(tmp_path, name):
    """Earlier and later ones alike."""
    path = copied(DIGITS, tmp_path)
    record = json.loads((path / name).read_text())
    for number in (None, 1, 3, True):
        (path / name).write_text(json.dumps(record | {"format": number}))
        with pytest.raises(ValueError, match=f"has format {number}, .*: use the") as error:
            dvae.load(path).result  # noqa: B018
        assert "\n" not in str(error.value)
