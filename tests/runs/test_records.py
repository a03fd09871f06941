"""JSON records: whole or absent, nothing damaged or of another run is taken for a result."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import pytest

import data
import dvae
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from dvae.runs import commands, json_files, records
from dvae.runs.checkpoints import RunOptions
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from tests.helpers import hand_made_results
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang
from tests.helpers.works import refused

RESULT = hand_made_results.record_of(build_config(dataset="digits"), 23.4375)
RUN = records.RunConfig(build_config(dataset="digits"), "5a")
MODELS = Path(__file__).parents[2] / "models"
OURS, THEIRS = (
    MODELS / f"binarized_mnist-1-layer-nonlin-{method}-k1" for method in ("dvaes_power", "pwl")
)
DIGITS = MODELS / "digits-1-layer-nonlin-dvaes_power-k1"


def write_run(directory, result=RESULT):
    records.write_config(directory / "config.json", RUN)
    records.write_result(directory, result)
    return directory / "result.json"


@pytest.fixture
def path(tmp_path):
    """Of the result of a run."""
    return write_run(tmp_path)


def test_what_is_written_is_read(path):
    """A record that was only laid out anew is the same record."""
    for _ in range(2):
        found = records.read_result(path)
        assert {name: found[name] for name in RESULT} == RESULT
        path.write_text(json.dumps(dict(sorted(json.loads(path.read_text()).items())[::-1])))
    assert records.read_config(path.parent) == RUN
    assert sorted(p.name for p in path.parent.iterdir()) == ["config.json", "result.json"]


@pytest.mark.parametrize(
    "part",
    ["struct", "baseline", "sampler", "dataset", "encoder", "decoder", "likelihood", "prior"],
)
def test_a_part_that_nobody_registered_is_no_damage(part, tmp_path):
    config = RUN.config
    if part in ("struct", "baseline", "sampler", "dataset"):
        config = dataclasses.replace(config, **{part: "mine"})
    else:
        structure = dataclasses.replace(config.structure, **{part: "mine"})
        config = dataclasses.replace(config, structure=structure)
    records.write_config(tmp_path / "config.json", RUN._replace(config=config))
    with refused(f"{part}[= ]mine is not known to this program: import the module") as raised:
        dvae.load(tmp_path)
    assert "damaged" not in str(raised.value)


def test_failed_write_leaves_the_old_record(path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        records.write_result(path.parent, RESULT | {"seed": 1})
    assert records.read_result(path)["seed"] == RESULT["seed"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["config.json", "result.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_written(value, tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_files.write_json(path, {"number": value})
    assert not list(tmp_path.iterdir())
    path.write_text(json.dumps({"number": value}))
    with pytest.raises(UserError, match="damaged"):
        json_files.read_json(path)


@pytest.mark.parametrize(("kind", "share"), [("result", 0.95), ("config", 0.7)])
def test_damaged_records_are_refused_in_one_line(path, kind, share):
    """Each of 700, or it is as it was, or of another owner, whose checkpoints are refused."""
    directory, owner, refusals = RunDirectory(path.parent), None, 0
    if kind == "config":
        path, owner = directory.config, directory.owner()
    good = path.read_bytes()
    contents = [*damaged_bytes(good, 1), *damaged_records(json.loads(good))]
    assert len(contents) >= 700
    for content in contents:
        path.write_bytes(content)
        try:
            with no_hang():
                read = records.read_config if kind == "config" else records.read_result
                found = read(path.parent if kind == "config" else path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1 and str(path) in str(error)
            refusals += 1
        else:
            if kind == "config":
                assert isinstance(found.config, ExperimentConfig)
                assert found == RUN or directory.owner() != owner
            else:
                assert {name: found[name] for name in RESULT} == RESULT, content
    assert refusals > share * len(contents)


def test_numbers_that_do_not_fit_each_other(tmp_path):
    """With the right checksum, too."""
    interval = RESULT["nll_interval"]
    for changed in (
        {"log_z": 21.25},
        {"test_nll": "23.4375"},
        {"nll_interval": {**interval, "low": 23.5, "high": 23.25}},
        {"nll_interval": {**interval, "log_z": [0.25]}},
        {"log_z_interval": None},
        {"log_z_stderr": -1.0},
    ):
        path = write_run(tmp_path, RESULT | changed)
        with pytest.raises(UserError, match=r"damaged: restore it, or remove it"):
            records.read_result(path)


def _set(name, **fields):
    """Changes fields of a file of a run, whatever its checksum; `name` of them by functions."""

    def change(path):
        record = json.loads((path / name).read_text())
        news = {key: new(record[key]) if callable(new) else new for key, new in fields.items()}
        (path / name).write_text(json.dumps(record | news))

    return change


def _write(name, text):
    return lambda path: (path / name).write_text(text)


def _result_of(model):
    return lambda path: shutil.copyfile(model / "result.json", path / "result.json")


def _load(path):
    return dvae.load(path).result


def _export(path):
    export_run(path, path.with_name("exported"))


def _train_again(path):
    config = dvae.load(DIGITS).config
    commands.train_run(config, data.load(config.dataset, ""), path, False, RunOptions())


def _other_tensors(path):
    """Of the same settings: say of an attempt on another machine."""
    [path] = (path / "checkpoints").glob("best-*/manifest.json")
    manifest = records.read_bound(path)
    identity = manifest.pop("identity")
    tensors = {name: "0" * 64 for name in manifest["sha256"]}
    records.write_bound(path, manifest | {"sha256": tensors}, identity)


def _other_step(path):
    [best] = (path / "checkpoints").glob("best-*")
    best.rename(best.with_name("best-0000000020"))


_OTHER_RUN = "result.json is of another run .*baseline: pwl there, dvaes_power here"
_ANEW = "start the run's command again, which writes it anew"
# The model, what happens to a copy of it, what is tried then, words of the one line.
_FOREIGN = {
    "result of another, exported": (OURS, _result_of(THEIRS), _export, _OTHER_RUN),
    "result of another": (OURS, _result_of(THEIRS), _load, _OTHER_RUN),
    "result of another, shown": (
        *(DIGITS, _result_of(OURS), _train_again),
        "dataset: binarized_mnist there, digits here",
    ),
    "another checkpoint": (
        *(DIGITS, _other_tensors, lambda path: records.read_result(path / "result.json")),
        "of another best-0000009000 than the one beside it",
    ),
    "another step": (
        *(DIGITS, _other_step, lambda path: records.read_result(path / "result.json")),
        "of best-0000009000, and not of best-0000000020",
    ),
    "one pixel of the mean": (
        *(DIGITS, _set("data.json", train_mean=lambda mean: [*mean[:-1], 0.5])),
        *(_load, _ANEW),
    ),
    "mean": (DIGITS, _set("data.json", train_mean=[0.1]), _load, _ANEW),
    "other data": (DIGITS, _set("data.json", sha256="0"), _load, _ANEW),
    "data gone": (DIGITS, lambda path: (path / "data.json").unlink(), _load, _ANEW),
    "no JSON": (DIGITS, _write("config.json", "{"), _load, "config.json is damaged .no valid JSON"),
    "config": (DIGITS, _set("config.json", k=5), _load, "does not match its checksum"),
    "no checkpoint": (
        *(DIGITS, lambda path: shutil.rmtree(path / "checkpoints"), _load),
        "no best checkpoint",
    ),
    **{
        f"format {number} of {name}": (DIGITS, _set(f"{name}.json", format=number), _load, words)
        for name in ("config", "data", "result")
        for number in (None, 1, 3, True)
        for words in [f"has format {number}, .*: use the"]
    },
}


@pytest.mark.parametrize("case", _FOREIGN)
def test_what_is_damaged_or_of_another_run_is_refused(case, tmp_path, capsys):
    model, change, attempt, words = _FOREIGN[case]
    path = Path(shutil.copytree(model, tmp_path / "run"))
    change(path)
    with refused(words, ValueError) as error:
        attempt(path)
    assert " --" not in str(error.value) or attempt is not _load
    assert not (tmp_path / "exported").exists()
    assert "this run is finished" not in capsys.readouterr().out


def test_a_configuration_refuses_wrong_types():
    """Whatever its checksum."""
    record = build_config(struct="4-layer-nonlin", k=5).to_json()
    assert ExperimentConfig.from_json(json.loads(json.dumps(record))).to_json() == record
    for name, value in (("k", "5"), ("k", True), ("structure", None), ("seed", 1.5), ("x", 1)):
        with pytest.raises(UserError):
            ExperimentConfig.from_json(record | {name: value})
