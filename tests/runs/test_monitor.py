"""Evaluations and summaries of a run: log Z is held against AIS, a collapse is warned of."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from dvae.runs.checkpoints import Progress
from dvae.runs.directory import RunDirectory
from dvae.runs.monitor import MAX_DRIFT, Monitor
from dvae.runs.summaries import Summaries
from samplers.diagnostics import LogMeanEstimate
from tests.helpers.tiny_training import config_of, dataset, eager, make_program


def monitor_of(folder, **fields):
    """The monitor of a tiny program with random weights."""
    config = config_of(eval_batchsize=4, ais_chains=64, ais_temperatures=50, **fields)
    program = make_program(config)
    return Monitor(config, dataset(), program, Summaries(RunDirectory(folder))), program


def set_tracked(program, value):
    program.anchor_log_partition(tf.constant(value, tf.float64))


def tracked(program):
    return float(program.sampler.log_partition(program.sampler_state()))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_drift_beyond_five_standard_errors_is_anchored(tmp_path, caplog, sign):
    """4.9 standard errors of AIS are left alone, 5.1 are warned of and mended, on both sides."""
    monitor, program = monitor_of(tmp_path, log_z_population="separate")
    ais = LogMeanEstimate(*(tf.constant(v, tf.float64) for v in (7.0, 0.2, 50.0)))
    for share, kept in ((0.98, True), (1.02, False)):
        caplog.clear()
        drifted = 7.0 + sign * share * MAX_DRIFT * 0.2
        set_tracked(program, drifted)
        monitor._anchor(ais)
        assert tracked(program) == (drifted if kept else 7.0)
        assert ("re-anchored" in caplog.text) != kept


def test_evaluation_anchors_a_separate_population(tmp_path, caplog):
    """A tracked value 30 nats off is replaced by what AIS finds, and the drift logged is none."""
    monitor, program = monitor_of(tmp_path, log_z_population="separate")
    set_tracked(program, 30.0)
    monitor.evaluate(Progress(step=5), lambda: None)
    assert "re-anchored" in caplog.text
    values = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert tracked(program) == values["log_z/ais"]
    assert values["log_z/drift"] == 0.0


def test_evaluation_leaves_a_shared_population_alone(tmp_path, caplog):
    """Its value is untrusted, but it is the published one: it is shown beside AIS, not mended."""
    monitor, program = monitor_of(tmp_path, log_z_population="shared")
    before = tracked(program)
    monitor.evaluate(Progress(step=5), lambda: None)
    assert tracked(program) == before
    assert "re-anchored" not in caplog.text


@pytest.mark.parametrize(("scale", "collapses"), [(0.0, False), (30.0, True)])
def test_collapse_of_the_population_is_warned_of(tmp_path, caplog, scale, collapses):
    """One step to a prior of energies in the hundreds leaves few families of 200; none to zero."""
    monitor, program = monitor_of(tmp_path, num_chains=200)
    rng = np.random.default_rng(1)
    for variable in program.model.prior.trainable_variables:
        variable.assign(scale * rng.standard_normal(variable.shape))
    with eager():
        program.run(np.arange(3, dtype=np.int32)[None], 1)
    with caplog.at_level(logging.WARNING):
        monitor.summarize(Progress(step=5))
    assert ("collapsed" in caplog.text) == collapses
