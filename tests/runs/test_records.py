"""JSON records: whole or absent, and nothing damaged is taken for a result."""

import json
import os

import pytest

from configs.errors import UserError
from dvae.runs import records
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang

RESULT = {
    "dataset": "digits",
    "test_nll": 23.4375,
    "test_neg_elbo": 25.125,
    "unnormalized_nll": 3.1875,
    "log_z": 20.25,
    "log_z_stderr": 0.015625,
    "val_nll": 22.5,
    "log_z_interval": {"low": 20.0, "high": 20.5, "exact": None, "upper_status": "checked"},
    "nll_interval": {"low": 23.25, "high": 23.5, "log_z": [-0.25, 0.25]},
    "versions": {"python": "3"},
    "best_val_nll": float("inf"),
}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "result.json"
    records.write_checked(path, RESULT)
    assert records.read_checked(path) == RESULT
    assert records.read_result(path) == RESULT
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_key_order_and_layout_are_free(tmp_path):
    """A record that was only laid out anew is the same record."""
    path = tmp_path / "result.json"
    records.write_checked(path, RESULT)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(record.items(), reverse=True))))
    assert records.read_checked(path) == RESULT


def test_failed_write_leaves_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    records.write_checked(path, RESULT)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        records.write_checked(path, {"other": 1})
    assert records.read_checked(path) == RESULT
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("read", [records.read_checked, records.read_result])
def test_damaged_records_are_refused_in_one_line(tmp_path, read):
    """Each of some 700 damaged results: refused, or, where only layout changed, read as it was."""
    path = tmp_path / "result.json"
    records.write_checked(path, RESULT)
    good = path.read_bytes()
    record = json.loads(good)
    contents = [*damaged_bytes(good, 1), *damaged_records(record)]
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
            # A checksum under another name is none: the numbers are the same all the same.
            assert {name: found[name] for name in RESULT} == RESULT, content
    assert refused > 0.95 * len(contents)


def test_result_without_checksum_must_make_sense(tmp_path):
    """Results of older versions have none: their numbers must fit each other."""
    path = tmp_path / "result.json"
    contents = list(damaged_records(RESULT))
    for content in contents:
        path.write_bytes(content)
        try:
            with no_hang():
                found = records.read_result(path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        else:
            likelihood = ("test_nll", "unnormalized_nll", "log_z", "nll_interval")
            close = [found[name] for name in likelihood[:3]] == [23.4375, 3.1875, 20.25]
            assert close, content
            assert found["nll_interval"]["low"] <= 23.4375 <= found["nll_interval"]["high"]
