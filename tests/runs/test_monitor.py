"""What a run says of itself: evaluations and summaries, trials, its code, and the time it takes."""

import dataclasses
import json
import logging
import math
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from dvae.evaluation import LikelihoodEstimate
from dvae.runs import code_version, loop, monitor, timing
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
from tests.helpers import tiny_training as tiny
from tests.helpers.recorded_draws import Draws
from tests.reference.rbm import ReferenceRBM


def monitor_of(folder, **fields):
    """The monitor of a tiny program with random weights."""
    config = tiny.config_of(eval_batchsize=4, ais_chains=64, ais_temperatures=50, **fields)
    program = tiny.make_program(config)
    return Monitor(config, tiny.dataset(), program, Summaries(RunDirectory(folder))), program


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
    return float(program.tracked_log_partition())


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


@pytest.mark.parametrize(
    ("population", "fails"), [("separate", False), ("separate", True), ("shared", False)]
)
def test_evaluation_anchors_a_separate_population(tmp_path, caplog, population, fails, monkeypatch):
    """By AIS that is to be trusted, 27 nats off. A shared one is as published: it is not mended."""
    monitor, program = monitor_of(tmp_path, log_z_population=population)
    mended = population == "separate" and not fails
    if population == "separate":
        set_tracked(program, 30.0)
    before = tracked(program)
    written_down(monitor, monkeypatch)["fails"] = fails
    monitor.evaluate(Progress(step=5), lambda: None)
    assert ("re-anchored" in caplog.text) == mended
    values = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert values["log_z/ais"] == 57.0
    assert tracked(program) == (57.0 if mended else before)
    if population == "separate":
        assert values["log_z/drift"] == (0.0 if mended else -27.0)


@pytest.mark.parametrize(("scale", "collapses"), [(0.0, False), (30.0, True), (None, False)])
def test_collapse_of_the_population_is_warned_of(tmp_path, caplog, scale, collapses, monkeypatch):
    """One step to a prior of energies in the hundreds leaves few families of 200; none to zero.

    None: a skipped step, whose zeros are neither means nor a collapse.
    """
    monitor, program = monitor_of(tmp_path, num_chains=200)
    rng, skipped = np.random.default_rng(1), scale is None
    for variable in program.model.prior.trainable_variables:
        variable.assign((scale or 0.0) * rng.standard_normal(variable.shape))
    if skipped:
        program.model.decoder.network.bias.assign(np.full(7, np.nan, np.float32))
    tiny.take_variables(program)
    with monkeypatch.context() as patch, tiny.eager():
        Draws(patch)
        program.run(np.arange(3, dtype=np.int32)[None], 1)
    with caplog.at_level(logging.WARNING):
        word = monitor.summarize(Progress(step=5))
    assert ("collapsed" in caplog.text) == collapses
    values = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert program.state.skipped == int(skipped) == int("no update taken" in word)
    for name in ("train/neg_elbo", "sampler/surviving_families"):
        assert (name in values) != skipped


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


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A monitor, and the table by whose entries it evaluates."""
    monitor, _ = monitor_of(tmp_path, log_z_population="none")
    return monitor, written_down(monitor, monkeypatch)


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
    progress = Progress(step=3, updates=0)
    assert not monitor.evaluate(progress, lambda: None) and progress.best_step is None


def test_the_logged_loss_is_the_mean_of_each_steps_objective(tmp_path, monkeypatch):
    """Two summaries of 8 steps in the KL warm-up against float64: log Z of each step enumerated.

    Taken for linear over a window it errs by less than 0.01 here, AIS by less. With the weight of
    the window's end the losses would be 1 nat too high.
    """
    Draws(monkeypatch)
    often = dict(num_train_iter=54, summary_every=8, eval_every=1000)
    config = tiny.config_of(**often, base_lr=0.01, ais_chains=1024)
    steps, plain = [], TrainProgram.run

    def run(program, indices, num_steps):
        for row in indices[:num_steps]:
            before = program.state.metric_sums.numpy()[:3].astype(np.float64)
            log_z = ReferenceRBM(*map(np.float64, program.parameters())).log_partition()
            weight = min(program.state.step / (0.3 * 54), 1.0)
            plain(program, row[None], 1)
            bound, _, kl = program.state.metric_sums.numpy()[:3] - before
            steps.append((bound + weight * log_z, kl + log_z))

    monkeypatch.setattr(TrainProgram, "run", run)
    monkeypatch.setattr(TrainProgram, "trace", lambda *_: None)
    monkeypatch.setattr(Run, "_check_numbers", lambda self: _stop_at(self, 16))
    directory, data = RunDirectory(tmp_path / "run"), tiny.dataset()
    directory.open(config, data.sha256, fresh=False)
    with tiny.eager():
        run_ = Run(config, data, directory, RunOptions())
        tiny_models.randomize(tiny.variables_of(run_.program), scale=0.3)
        for variable in run_.program.model.prior.trainable_variables:
            variable.assign(tf.zeros(variable.shape))
        tiny.take_variables(run_.program)
        run_._resume()
        with pytest.raises(StopIteration):
            run_._loop()
        word = run_.monitor.summarize(run_.progress)
    mean_weight = np.mean(np.arange(8, 16) / (0.3 * 54))  # at the end it is 0.99
    assert word.endswith(f", KL weight {mean_weight:.2f}") and mean_weight < 0.72
    assert run_.monitor._mean_kl_weight(Progress(step=54, summarized_step=17)) == 1.0
    lines = map(json.loads, directory.metrics.read_text().splitlines())
    found = [(line["train/neg_elbo"], line["obj/kl"]) for line in lines]
    expected = np.reshape(steps, (2, 8, 2)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("stderr", "text"), [(0.02, "57.10 ± 0.02"), (0.004, "57.100 ± 0.004"), (0.0, "57.10 ± 0.00")]
)
def test_an_evaluation_shows_the_error_of_log_z(stderr, text):
    log_z = LogPartition(57.1, stderr, 700.0, 56.8, 57.1, stderr, "checked", None)
    values = {"val/neg_ll": 23.0, "test/neg_ll": 24.0}
    said = monitor._evaluation_line(5, values, log_z)
    assert said.endswith(f"test NLL 24.00 (100 importance samples), log Z {text}")


def _stop_at(run, step):
    if run.progress.step == step:
        raise StopIteration


@pytest.fixture
def version(tmp_path, monkeypatch):
    """Of a tree of two sources."""
    (tmp_path / "dvae").mkdir()
    (tmp_path / "run.py").write_text("a = 1\n")
    (tmp_path / "dvae" / "x.py").write_text("b = 2\n")
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    return code_version.code_version.__wrapped__


def test_digest_follows_the_sources_alone(version, tmp_path):
    before, source = version(), tmp_path / "dvae" / "x.py"
    assert before["commit"] is None and len(before["sources"]) == 12
    (tmp_path / "README.md").write_text("text")
    assert version() == before
    seen = {before["sources"]}
    source.write_text("b = 3\n")
    seen.add(version()["sources"])
    source.write_text("b = 2\n")
    source.rename(tmp_path / "dvae" / "y.py")
    seen.add(version()["sources"])
    packages = "dvae", "dvae/runs", "configs", "data", "samplers"
    for package in packages:
        (tmp_path / package / "new" / "deep").mkdir(parents=True)
        (tmp_path / package / "new" / "deep" / "z.py").write_text("c = 4\n")
        seen.add(version()["sources"])
    assert len(seen) == 3 + len(packages)


def test_commit_and_later_changes(version, tmp_path):
    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "other").write_text("x")
    git("add", "other")
    git("commit", "-qm", "x")
    assert version()["commit"] is None  # another project's repository around ours
    git("add", ".")
    git("commit", "-qm", "y")
    commit = version()["commit"]
    assert len(commit) == 10 and int(commit, 16) >= 0
    (tmp_path / "run.py").write_text("a = 2\n")
    assert version()["commit"] == f"{commit}+changes"


@pytest.mark.parametrize("before", [[], ["new"], ["old"], ["older", "old"]])
def test_a_resumed_run_names_all_code_that_trained_it(before, capsys):
    code = [{"sources": name, "commit": None} for name in before]
    progress = Progress(step=7 if before else 0, code=code)
    stand_in = SimpleNamespace(progress=progress, _code={"sources": "new", "commit": None})
    loop.Run._note_code(stand_in)
    named = [*before] if before == ["new"] else [*before, "new"]
    assert [code_version.version_name(version) for version in progress.code] == named
    assert ("trained by other code so far" in capsys.readouterr().out) == (len(named) > 1)


def test_parts_add_up_to_the_whole_time(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.0)
    fields = dict(num_train_iter=1000, eval_every=300, eval_iw_samples=50)
    with tiny.eager():
        found = timing.measure(
            tiny.config_of(**fields, ais_temperatures=2, ais_chains=3), tiny.dataset()
        )
    assert all(value > 0.0 for value in found.values())
    total = found["compile_seconds"] + found["ms_per_step"] + found["final_seconds"]
    total += 4 * found["evaluation_seconds"]  # after 300, 600, 900 and 1000 steps
    assert found["hours"] == pytest.approx(total / 3600.0)


def test_more_samples_take_longer_in_proportion(monkeypatch):
    monkeypatch.setattr(timing, "TrainProgram", lambda *_: None)
    monkeypatch.setattr(timing, "step_seconds", lambda *_: (2.0, 0.5))
    monkeypatch.setattr(timing, "sample_seconds", lambda *_: 0.001)
    monkeypatch.setattr(timing, "ais_seconds", lambda *_: 3.0)
    data, config = (
        tiny.dataset(),
        tiny.config_of(num_train_iter=10, eval_every=10, eval_iw_samples=50),
    )
    few = timing.measure(config, data)
    many = timing.measure(dataclasses.replace(config, eval_iw_samples=150), data)
    images = len(data.validation) + len(data.test)
    assert few["evaluation_seconds"] == pytest.approx(2 * 3.0 + 0.1 * images)  # AIS both ways
    assert many["final_seconds"] - few["final_seconds"] == pytest.approx(0.1 * len(data.test))
