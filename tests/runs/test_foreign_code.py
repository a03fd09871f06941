"""Files of a run name many things, and whoever opens it imports or calls none of them."""

import contextlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import data
import dvae
from configs.errors import UserError
from configs.experiment import build_config
from dvae.runs import json_files, records
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from dvae.runs.trained_model import TrainedModel
from tables import driver
from tests.helpers import hand_made_results, tiny_runs
from tests.helpers.works import refused, works

MODEL = Path(__file__).parents[2] / "models" / "digits-1-layer-nonlin-dvaes_power-k1"
MODULE = "leaves_a_mark"


NAMES = (
    *(f"{MODULE}:made", f"{MODULE}.made", MODULE, "os:system", f"{MODULE}.more:made"),
    *({f"{MODULE}:made": {}}, [f"{MODULE}:made"], {"py/object": f"{MODULE}.made"}),
    {"class_name": "made", "module": MODULE, "registered_name": f"{MODULE}>made", "config": {}},
    *(f"!!python/object/apply:{MODULE}.made []", f"c{MODULE}\nmade\n."),  # a pickle
)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that appears when the module on the path is imported, or `os.system` called."""
    path, folder = tmp_path / "mark", tmp_path / "modules"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(f"open({str(path)!r}, 'w').close()\nmade = object\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(os, "system", lambda *_: path.touch())
    yield path
    sys.modules.pop(MODULE, None)


def _assert_absent(mark):
    assert not mark.exists() and MODULE not in sys.modules


def _write_run(directory, record):
    """Everything that a model needs but its weights, as somebody could write it by hand."""
    record = json.loads(json.dumps(record))
    identity = json_files.digest({"format": records.FORMAT, **record})
    facts = {"image_shape": [6, 5], "train_mean": [0.5] * 30, "notes": "", "name": "own"}
    records.write_bound(directory / "config.json", record, identity)
    records.write_bound(directory / "data.json", facts, identity)
    result = json.loads((directory / "result.json").read_text())
    del result["checksum"], result["identity"]
    records.write_bound(directory / "result.json", result, identity)


FIELDS = "encoder decoder likelihood prior baseline sampler struct dataset"


@pytest.mark.parametrize("field", FIELDS.split())
def test_a_configuration_names_entries_of_our_tables_alone(tmp_path, mark, field):
    config = tiny_runs.tiny_config("digits")
    tree = tmp_path / "tree"
    ways_in = (  # all that opens a run of others
        dvae.load,
        lambda directory: TrainedModel(directory, data_dir="", seed=3),
        lambda directory: export_run(directory, tmp_path / "exported"),
        lambda directory: RunDirectory(directory).open(config, "ab" * 32, fresh=False),
    )
    for number, name in enumerate(NAMES):
        directory, result = tree / str(number), hand_made_results.record_of(config, 85.0)
        hand_made_results.write_finished(directory, config, result)
        record = {"data_sha256": "ab" * 32, **config.to_json()}
        (record["structure"] if field in record["structure"] else record)[field] = name
        _write_run(directory, record)
        for opened in ways_in:
            with works(Exception), refused():
                opened(directory)
            _assert_absent(mark)
    document = driver.write_report(tree, tmp_path)
    [table] = [table for table in document.tables if table.title == "Not counted"]
    assert len(table.rows) == len(NAMES)
    _assert_absent(mark)


def test_settings_that_are_given_name_entries_of_our_tables_alone(mark):
    for name in NAMES:
        for field in ("baseline", "sampler", "struct", "dataset"):
            with pytest.raises(UserError):
                build_config(**{field: name})
        _assert_absent(mark)


def _named_everywhere(value, name):
    """The record with further fields that hold `name`, at every level."""
    if not isinstance(value, dict):
        return value
    further = ("class", "module", "encoder", "loader", "__reduce__", "__class__")
    return {
        **dict.fromkeys(further, name),
        **{k: _named_everywhere(v, name) for k, v in value.items()},
    }


def test_what_the_files_of_a_model_say_beyond_that_is_not_looked_at(tmp_path, mark):
    """It works as before, from a directory that has modules of its own."""
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    for module in ("__init__", "dvae", "conftest", "sitecustomize", "tensors"):
        (model / f"{module}.py").write_text(f"open({str(mark)!r}, 'w').close()")
    [manifest] = model.glob("checkpoints/best-*/manifest.json")
    for number, path in enumerate((model / "data.json", model / "result.json", manifest)):
        record = json.loads(path.read_text())
        identity = record.pop("identity")
        del record["checksum"]
        sums = record.pop("sha256", None)  # of the tensors: whatever stands there is a file
        record = _named_everywhere(record, NAMES[number])
        if "notes" in record:
            record |= {"name": NAMES[0], "notes": NAMES[-1]}
        records.write_bound(path, record | ({"sha256": sums} if sums else {}), identity)
    with contextlib.chdir(model):
        found = dvae.load(model)
    np.testing.assert_array_equal(found.prior.coupling, dvae.load(MODEL).prior.coupling)
    _assert_absent(mark)


class _Called:
    """What a pickle of it calls when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_not_opened(tmp_path, mark):
    arrays = dict.fromkeys(("train", "validation", "test"), np.array([_Called(mark)], object))
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(UserError, match="Object arrays cannot be loaded"):
        data.load(str(tmp_path / "own.npz"), "")
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Called(mark)))
    assert mark.exists()
