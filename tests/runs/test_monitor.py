"""Evaluations and summaries of a run: log Z is held against AIS, a collapse is warned of."""

import json
import logging
import math

import numpy as np
import pytest
import tensorflow as tf

from dvae import adam
from dvae.evaluation import LikelihoodEstimate
from dvae.runs.checkpoints import Progress, RunOptions
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import Run
from dvae.runs.monitor import MAX_DRIFT, Monitor
from dvae.runs.summaries import Summaries
from dvae.train_step import TrainProgram
from samplers import log_partition
from samplers.diagnostics import LogMeanEstimate
from samplers.log_partition import LogPartition
from tests.helpers import tiny_models
from tests.helpers.recorded_draws import Draws
from tests.helpers.tiny_training import (
    config_of,
    dataset,
    eager,
    make_program,
    take_variables,
    variables_of,
)
from tests.reference.rbm import ReferenceRBM


def monitor_of(folder, **fields):
    """The monitor of a tiny program with random weights."""
    config = config_of(eval_batchsize=4, ais_chains=64, ais_temperatures=50, **fields)
    program = make_program(config)
    return Monitor(config, dataset(), program, Summaries(RunDirectory(folder))), program


def written_down(monitor, monkeypatch):
    """A table: the "nll" of the monitor's evaluations, and whether the check of log Z "fails"."""
    now = {"nll": 5.0, "fails": False}

    def likelihood(images, *_, **__):
        return LikelihoodEstimate(now["nll"] - 57.0, now["nll"], 0.01, 0.1, len(images))

    def measure(*_):
        reverse = 37.0 if now["fails"] else 57.0
        return LogPartition(57.0, 0.1, 30.0, 56.0, reverse, 0.1, "checked", None)

    monitor.evaluator.likelihood = likelihood
    quick = LogMeanEstimate(*(tf.constant(v, tf.float64) for v in (57.0, 0.1, 30.0)))
    monkeypatch.setattr(log_partition, "measure", measure)
    monkeypatch.setattr(log_partition, "estimate", lambda *_: quick)
    return now


def set_tracked(program, value):
    program.anchor_log_partition(tf.constant(value, tf.float64))


def tracked(program):
    return float(program.sampler.log_partition(program.state.sampler))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_drift_beyond_five_standard_errors_is_anchored(tmp_path, caplog, sign):
    """4.9 standard errors of AIS are left alone, 5.1 are warned of and mended, on both sides."""
    monitor, program = monitor_of(tmp_path, log_z_population="separate")
    ais = LogPartition(7.0, 0.2, 50.0, 6.0, 7.0, 0.2, "checked", None)
    for share, kept in ((0.98, True), (1.02, False)):
        caplog.clear()
        drifted = 7.0 + sign * share * MAX_DRIFT * 0.2
        set_tracked(program, drifted)
        monitor._anchor(ais)
        assert tracked(program) == (drifted if kept else 7.0)
        assert ("re-anchored" in caplog.text) != kept


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_anchors_a_separate_population(tmp_path, caplog, fails, monkeypatch):
    """A tracked value 27 nats off is replaced by what AIS finds, unless that is not to be trusted.

    The drift that is logged is then none.
    """
    monitor, program = monitor_of(tmp_path, log_z_population="separate")
    set_tracked(program, 30.0)
    written_down(monitor, monkeypatch)["fails"] = fails
    monitor.evaluate(Progress(step=5), lambda: None)
    assert ("re-anchored" in caplog.text) != fails
    values = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert values["log_z/ais"] == 57.0
    assert tracked(program) == (30.0 if fails else 57.0)
    assert values["log_z/drift"] == (-27.0 if fails else 0.0)


def test_evaluation_leaves_a_shared_population_alone(tmp_path, caplog, monkeypatch):
    """Its value is untrusted, but it is the published one: it is shown beside AIS, not mended."""
    monitor, program = monitor_of(tmp_path, log_z_population="shared")
    before = tracked(program)
    written_down(monitor, monkeypatch)
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
    take_variables(program)
    with eager():
        program.run(np.arange(3, dtype=np.int32)[None], 1)
    with caplog.at_level(logging.WARNING):
        monitor.summarize(Progress(step=5))
    assert ("collapsed" in caplog.text) == collapses


NAN, INF = math.nan, math.inf
# Validation NLLs at steps 1, 2, ...; those whose log Z fails, its check 20 nats below; the best.
CHOICES = {
    "nothing wrong": ([5.0, 3.0, 4.0], (), 2),
    "NaN in between": ([5.0, 3.0, NAN, 4.0], (), 2),
    "NaN first": ([NAN, 5.0, 6.0], (), 2),
    "NaN last": ([3.0, NAN], (), 1),
    "minus infinity": ([3.0, -INF, 4.0], (), 1),
    "infinity first": ([INF, 5.0], (), 2),
    "never finite": ([NAN, INF, -INF], (), None),
    "a low value of a failing log Z": ([5.0, 1.0, 4.0], (2,), 3),
    "a negative one": ([5.0, -1.0, 4.5], (), 3),
    "failing at first": ([1.0, 5.0, 6.0], (1,), 2),
    "failing at last": ([5.0, 1.0], (2,), 1),
    "always failing: the newest": ([1.0, 5.0, 3.0], (1, 2, 3), 3),
}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    monitor, _ = monitor_of(tmp_path_factory.mktemp("chosen"), log_z_population="none")
    return monitor


@pytest.fixture
def stand_in(untracked, monkeypatch):
    """A monitor, and the table by whose entries it evaluates."""
    return untracked, written_down(untracked, monkeypatch)


@pytest.mark.parametrize("case", CHOICES)
def test_the_choice_of_the_best_model(case, stand_in):
    """Only finite values win, an earlier best stays, and a log Z not to be trusted cannot win."""
    values, failing, best = CHOICES[case]
    monitor, now = stand_in
    progress, better = Progress(), []
    for step, value in enumerate(values, start=1):
        progress.step = progress.updates = step
        now |= {"nll": value, "fails": step in failing}
        if monitor.evaluate(progress, lambda: None):
            better.append(step)
    assert progress.best_step == best == (better[-1] if better else None)
    json.dumps(vars(progress), allow_nan=False)


def test_a_model_that_took_no_update_is_never_the_best(stand_in):
    monitor, now = stand_in
    now |= {"nll": 5.0, "fails": False}
    progress = Progress(step=3)
    progress.updates = 0
    assert not monitor.evaluate(progress, lambda: None) and progress.best_step is None


def test_a_summary_of_skipped_steps_shows_none(tmp_path, caplog):
    """No means, no warning of a collapse that is zeros of skipped steps, a word for the console."""
    monitor, program = monitor_of(tmp_path, num_chains=200)
    program.model.decoder.network.bias.assign(np.full(7, np.nan, np.float32))
    take_variables(program)
    with eager():
        program.run(np.arange(3, dtype=np.int32)[None], 1)
    assert program.state.skipped == 1
    with caplog.at_level(logging.WARNING):
        word = monitor.summarize(Progress(step=5))
    assert "collapsed" not in caplog.text and "no update taken" in word
    values = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert "train/neg_elbo" not in values and "sampler/surviving_families" not in values


def test_gradient_norms_are_of_the_parts_and_of_the_last_updates(tmp_path):
    """After updates with g and h the mean square is (0.999 g^2 + h^2) / 1.999 of each weight."""
    monitor, program = monitor_of(tmp_path)
    size = program.state.weights.shape[0]
    g, h = np.random.default_rng(3).standard_normal((2, size))
    state = program.state.adam
    assert monitor._gradient_norms() == {}
    for gradient in (g, h):
        _, state = adam.update(tf.zeros(size), state, tf.constant(gradient, tf.float32), 1.0)
    program.state = program.state._replace(adam=state)
    squares, start, sums = (0.999 * g**2 + h**2) / 1.999, 0, {}
    for variable in program.trained:
        end = start + int(np.prod(variable.shape))
        sums[variable.path] = sums.get(variable.path, 0.0) + squares[start:end].sum()
        start = end
    found = monitor._gradient_norms()
    for part in ("encoder", "decoder", "prior"):
        paths = {variable.path for variable in getattr(program.model, part).trainable_variables}
        expected = math.sqrt(sum(sums[path] for path in paths))
        assert found[f"gradient_norm/{part}"] == pytest.approx(expected, rel=1e-3)
    assert found["gradient_norm/total"] == pytest.approx(math.sqrt(squares.sum()), rel=1e-3)


def test_the_logged_loss_is_the_mean_of_each_steps_objective(tmp_path, monkeypatch):
    """Two summaries of 8 steps in the KL warm-up against float64: log Z of each step enumerated.

    Taken for linear over a window it errs by less than 0.01 here, AIS by less. With the weight of
    the window's end the losses would be 1 nat too high.
    """
    Draws(monkeypatch)
    config = config_of(
        num_train_iter=54, summary_every=8, eval_every=1000, base_lr=0.01, ais_chains=1024
    )
    steps, plain = [], TrainProgram.run

    def run(program, indices, num_steps):
        for row in indices[:num_steps]:
            before = program.state.metric_sums.numpy()[:3].astype(np.float64)
            parameters = [np.float64(p) for p in program.parameters()]
            weight = min(program.state.step / (0.3 * 54), 1.0)
            plain(program, row[None], 1)
            bound, _, kl = program.state.metric_sums.numpy()[:3] - before
            log_z = ReferenceRBM(*parameters).log_partition()
            steps.append((bound + weight * log_z, kl + log_z))

    monkeypatch.setattr(TrainProgram, "run", run)
    monkeypatch.setattr(TrainProgram, "trace", lambda *_: None)
    directory = RunDirectory(tmp_path / "run")
    data = dataset()
    directory.open(config, data.sha256, fresh=False)
    with eager():
        run_ = Run(config, data, directory, RunOptions())
        tiny_models.randomize(variables_of(run_.program), scale=0.3)
        for variable in run_.program.model.prior.trainable_variables:
            variable.assign(tf.zeros(variable.shape))
        take_variables(run_.program)
        run_._resume()
        monkeypatch.setattr(Run, "_check_numbers", lambda self: _stop_at(self, 16))
        with pytest.raises(StopIteration):
            run_._loop()
        run_.monitor.summarize(run_.progress)
    lines = map(json.loads, directory.metrics.read_text().splitlines())
    found = [(line["train/neg_elbo"], line["obj/kl"]) for line in lines]
    expected = np.reshape(steps, (2, 8, 2)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)


def _stop_at(run, step):
    if run.progress.step == step:
        raise StopIteration
