"""JSON records: whole or absent, and nothing damaged is taken for a result."""

import json
import os

import pytest

from configs.errors import UserError
from configs.experiment import build_config
from dvae.runs import json_files, records
from tests.helpers import hand_made_results
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang

CONFIG = build_config(dataset="digits")
RESULT = hand_made_results.record_of(CONFIG, 23.4375)
RUN = records.RunConfig(CONFIG, "5a")


def read_checked(path):
    return json_files.checked(path, json_files.read_json(path))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "result.json"
    json_files.write_checked(path, RESULT)
    assert read_checked(path) == RESULT
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def write_run(directory, result):
    records.write_config(directory / "config.json", RUN)
    records.write_result(directory, result)


def test_a_run_is_read_back(tmp_path):
    write_run(tmp_path, RESULT)
    assert records.read_config(tmp_path) == RUN
    found = records.read_result(tmp_path / "result.json")
    assert {name: found[name] for name in RESULT} == RESULT


def test_key_order_and_layout_are_free(tmp_path):
    """A record that was only laid out anew is the same record."""
    path = tmp_path / "result.json"
    json_files.write_checked(path, RESULT)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(record.items(), reverse=True))))
    assert read_checked(path) == RESULT


def test_failed_write_leaves_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    json_files.write_checked(path, RESULT)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        json_files.write_checked(path, {"other": 1})
    assert read_checked(path) == RESULT
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("bound", [False, True])
def test_damaged_records_are_refused_in_one_line(tmp_path, bound):
    """Each of some 700 damaged results: refused, or, where only layout changed, read as it was."""
    path = tmp_path / "result.json"
    if bound:
        write_run(tmp_path, RESULT)
    else:
        json_files.write_checked(path, RESULT)
    read = records.read_result if bound else read_checked
    good = path.read_bytes()
    contents = [*damaged_bytes(good, 1), *damaged_records(json.loads(good))]
    assert len(contents) >= 700
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            with no_hang():
                found = read(path)
        except UserError as error:
            text = str(error)
            assert len(text.splitlines()) == 1
            assert str(path) in text
            refused += 1
        else:
            assert {name: found[name] for name in RESULT} == RESULT, content
    assert refused > 0.95 * len(contents)


def test_numbers_that_do_not_fit_each_other(tmp_path):
    """With the right checksum, too."""
    for changed in (
        {"log_z": 21.25},
        {"test_nll": "23.4375"},
        {"nll_interval": {**RESULT["nll_interval"], "low": 23.5, "high": 23.25}},
        {"nll_interval": {**RESULT["nll_interval"], "log_z": [0.25]}},
        {"log_z_interval": None},
        {"log_z_stderr": -1.0},
    ):
        write_run(tmp_path, RESULT | changed)
        with pytest.raises(UserError, match=r"damaged: restore it, or remove it"):
            records.read_result(tmp_path / "result.json")
