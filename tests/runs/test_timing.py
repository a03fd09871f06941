"""The estimate of a run's time: its parts are measured and add up."""

import dataclasses

import pytest

from dvae.runs import timing
from tests.helpers.tiny_training import config_of, dataset, eager


def test_parts_add_up_to_the_whole(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.0)
    config = config_of(
        num_train_iter=1000, eval_every=300, eval_iw_samples=50, ais_temperatures=2, ais_chains=3
    )
    with eager():
        found = timing.measure(config, dataset())
    assert all(value > 0.0 for value in found.values())
    total = found["compile_seconds"] + found["ms_per_step"] + found["final_seconds"]
    total += 4 * found["evaluation_seconds"]  # after 300, 600, 900 and 1000 steps
    assert found["hours"] == pytest.approx(total / 3600.0)


def test_more_samples_take_longer_in_proportion(monkeypatch):
    monkeypatch.setattr(timing, "TrainProgram", lambda *_: None)
    monkeypatch.setattr(timing, "step_seconds", lambda *_: (2.0, 0.5))
    monkeypatch.setattr(timing, "sample_seconds", lambda *_: 0.001)
    monkeypatch.setattr(timing, "ais_seconds", lambda *_: 3.0)
    data = dataset()
    config = config_of(num_train_iter=10, eval_every=10, eval_iw_samples=50)
    few = timing.measure(config, data)
    many = timing.measure(dataclasses.replace(config, eval_iw_samples=150), data)
    assert few["evaluation_seconds"] == pytest.approx(
        2 * 3.0 + 0.1 * (len(data.validation) + len(data.test))  # AIS forward and in reverse
    )
    assert many["final_seconds"] - few["final_seconds"] == pytest.approx(0.1 * len(data.test))
