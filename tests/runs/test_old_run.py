"""A run that was begun by an older version (commit c8c3dce) loads, evaluates and goes on.

`old_run` was stopped half way by that version; `expected.json` has what that version found in its
best checkpoint, and at the end of the same run without a stop. On the machine where it was made
the numbers are the same to the last bit; on another, rounding may turn single draws.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import dvae
from tests.helpers import tiny_runs

OLD = Path(__file__).with_name("old_run")
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def test_it_loads_and_evaluates_to_the_stored_number(copy):
    run = dvae.load(copy)
    assert run.step == 20 and run.config.sampler == "pa"
    assert run.log_partition().status == "exact"
    assert run.log_partition().value == pytest.approx(EXPECTED["best"]["log_z"], abs=1e-4)
    record = run.evaluate()
    for name, value in EXPECTED["best"].items():
        assert record[name] == pytest.approx(value, abs=0.01), name


def test_it_keeps_what_a_model_needs_of_its_data(copy):
    first = dvae.load(copy)
    facts = json.loads((copy / "data.json").read_text())
    assert facts["sha256"] == json.loads((copy / "config.json").read_text())["data_sha256"]
    np.testing.assert_array_equal(dvae.load(copy).sample(4), first.sample(4))


def test_it_goes_on_to_the_number_of_a_run_without_a_stop(copy, capsys):
    config = dvae.load(copy).config
    result = tiny_runs.train(config, copy)
    assert "resumed at step 34 of 60" in capsys.readouterr().out
    assert [version["commit"] for version in result["earlier_code"]] == ["c8c3dce4df"]
    for name, value in EXPECTED["uninterrupted"].items():
        assert result[name] == pytest.approx(value, abs=0.05), name


def test_data_that_must_be_given_once(copy):
    """Data sets that are not bundled were not kept by that version."""
    record = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(record | {"dataset": "omniglot"}))
    with pytest.raises(ValueError, match="needs omniglot for this: load it with data_dir"):
        dvae.load(copy)
