"""What a run trains on, when it evaluates, which model it keeps, and what its result is of.

The loop, its monitor and its checkpoints are the program's; a step only counts itself into the
weights and the chains, and the evaluator gives the numbers that a test wrote down.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

import data
from configs.errors import UserError
from dvae.evaluation import Evaluator, LikelihoodEstimate
from dvae.runs.checkpoints import RunOptions, restore_model
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import Run
from dvae.runs.pictures import Diagnostics
from dvae.train_state import NUM_COUNTS
from dvae.train_step import TrainProgram
from samplers import log_partition
from samplers.diagnostics import LogMeanEstimate
from samplers.log_partition import LogPartition
from tests.helpers import tiny_runs

# By step: the validation set is best at 40, the test set at 20, and 65 is the end.
VALIDATION = {10: 95.0, 20: 93.0, 30: 92.0, 40: 90.0, 50: 91.0, 60: 94.0, 65: 93.5}
TEST = {10: 95.0, 20: 80.0, 30: 92.0, 40: 93.0, 50: 89.0, 60: 88.0, 65: 87.5}
LOG_Z = 7.0


class Recorder:
    """What the program was asked for."""

    def __init__(self):
        self.indices, self.evaluated, self.log_z = [], [], []
        self.skips = False  # all updates


@pytest.fixture
def recorder(monkeypatch):
    return stand_in(monkeypatch)


def stand_in(monkeypatch):
    """Replaces what takes time or is random by what is written down above."""
    seen = Recorder()

    def run(program, indices, num_steps):
        seen.indices += indices[:num_steps].tolist()
        state = program.state
        counts = state.counts.numpy()
        counts[:2] += num_steps, num_steps * seen.skips
        step = state.step + num_steps
        model = tf.nest.map_structure(
            lambda leaf: tf.cast(tf.fill(leaf.shape, step), leaf.dtype), state.model
        )
        program.state = state.with_model(model)._replace(counts=tf.constant(counts))

    def likelihood(evaluator, images, num_samples, batch_size, key, progress=lambda _: None):
        step = int(evaluator.model.decoder.network.bias.numpy()[0])
        is_validation = len(images) == 13
        table = VALIDATION if is_validation else TEST
        seen.evaluated.append((len(images), num_samples, batch_size, step, tuple(key.numpy())))
        nll = table[step] - LOG_Z
        return LikelihoodEstimate(nll, nll + 1, 0.1, 0.1, len(images))

    def estimate(model, params, chains, key, settings):
        seen.log_z.append((settings, float(chains.left.numpy()[0, 0])))
        return LogMeanEstimate(*(tf.constant(v, tf.float64) for v in (LOG_Z, 0.1, 9.0)))

    def measure(model, params, chains, key, settings):
        estimate(model, params, chains, key, settings)
        return LogPartition(LOG_Z, 0.1, 9.0, 6.0, LOG_Z, 0.1, "checked", None)

    monkeypatch.setattr(TrainProgram, "run", run)
    monkeypatch.setattr(TrainProgram, "trace", lambda *_: None)
    monkeypatch.setattr(Evaluator, "likelihood", likelihood)
    monkeypatch.setattr(log_partition, "estimate", estimate)
    monkeypatch.setattr(log_partition, "measure", measure)
    monkeypatch.setattr(
        Diagnostics, "latents", lambda *_: {"reconstruction": np.zeros([10, 30], np.float32)}
    )
    monkeypatch.setattr(Diagnostics, "decode", lambda *_: np.zeros([10, 30], np.float32))
    return seen


def make_run(tmp_path):
    """A run of 65 steps."""
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=True)
    config = tiny_runs.tiny_config(
        path,
        num_train_iter=65,
        eval_every=10,
        summary_every=1000,
        eval_batchsize=7,
        eval_iw_samples=4321,
        ais_temperatures=10,  # not those of the summaries
        ais_base="fitted",
    )
    directory = RunDirectory(tmp_path / "run")
    dataset = data.load(config.dataset, ".")
    directory.open(config, dataset.sha256, fresh=False)
    return Run(config, dataset, directory, RunOptions())


@pytest.fixture
def outcome(recorder, tmp_path):
    """(result.json, metrics, what was asked for, the run) of 65 steps."""
    run = make_run(tmp_path)
    run.train()
    directory = run.directory
    directory.unlock()
    result = json.loads(directory.result.read_text())
    metrics = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    return result, metrics, recorder, run


def test_the_best_validation_model_is_what_counts(outcome):
    """Step 40: neither the best by the test set (20), nor the worst, nor the last."""
    result, metrics, seen, run = outcome
    assert result["best_step"] == 40
    assert result["val_nll"] == 90.0
    assert result["test_nll"] == 93.0
    assert result["test_neg_elbo"] == 94.0
    # Weights and chains that the result is of are those of that step.
    assert all(np.all(v.numpy() == 40) for v in run.program.model.variables)
    assert seen.log_z[-1][1] == 40.0
    kept = sorted(p.name for p in run.directory.checkpoints.glob("best-*"))
    assert kept == ["best-0000000040"]
    evaluations = [line for line in metrics if line["kind"] == "evaluation"]
    assert [line["step"] for line in evaluations] == sorted(VALIDATION)
    assert [line["val/neg_ll"] for line in evaluations] == list(VALIDATION.values())
    assert [line["test/neg_ll"] for line in evaluations] == list(TEST.values())
    assert evaluations[0]["val/neg_elbo"] == 96.0 and evaluations[0]["log_z/ais"] == LOG_Z


def test_samples_batches_and_keys_of_evaluations(outcome):
    """100 samples to choose by, 4321 for the final test; every evaluation has its own key."""
    _, _, seen, _ = outcome
    sizes = [entry[:4] for entry in seen.evaluated]
    expected = [(n, 100, 7, step) for step in sorted(VALIDATION) for n in (13, 17)]
    assert sizes == [*expected, (13, 100, 7, 40), (17, 4321, 7, 40)]
    keys = [entry[4] for entry in seen.evaluated]
    assert len(set(keys)) == len(keys)
    assert all(settings.num_chains == 41 for settings, _ in seen.log_z)
    assert all(settings.num_temperatures == 10 for settings, _ in seen.log_z)
    assert all(settings.base == "fitted" for settings, _ in seen.log_z)


def test_batches_of_a_run(outcome):
    """65 steps of 10 of 77 images: 7 a pass, each pass a new order without repeats."""
    _, _, seen, _ = outcome
    assert np.shape(seen.indices) == (65, 10)
    passes = [np.ravel(seen.indices[start : start + 7]) for start in range(0, 63, 7)]
    for one in passes:
        assert len(set(one)) == 70 and 0 <= min(one) and max(one) < 77
    assert len({tuple(one) for one in passes}) == len(passes)
    np.testing.assert_array_equal(seen.indices, data.batch_indices(77, 10, 0, 0, 65))


# What happens, words of the one line that says so, and the exit code.
NO_RESULT = {
    "never finite": (lambda seen: VALIDATION, "no model has a finite validation NLL", 2),
    "test not finite": (lambda seen: TEST, "test_nll nan", 2),
    "nothing trained": (lambda seen: setattr(seen, "skips", True), "nothing was trained", 3),
}


@pytest.mark.parametrize("case", NO_RESULT)
def test_a_run_without_a_result_says_why(case, recorder, tmp_path, monkeypatch):
    """One line and no result.json; the same command again says the same, so does `evaluate`."""
    spoil, words, code = NO_RESULT[case]
    for step in spoil(recorder) or ():
        monkeypatch.setitem(spoil(recorder), step, float("nan"))
    run = make_run(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError) as raised:
            run.train()
        text = str(raised.value)
        assert words in text and len(text.splitlines()) == 1
        assert getattr(raised.value, "exit_code", 2) == code
        assert not run.directory.result.exists()
    kept = {path.name for path in run.directory.checkpoints.glob("best-*")}
    assert kept == ({"best-0000000040"} if case == "test not finite" else set())
    if not kept:
        with pytest.raises(UserError) as raised:
            restore_model(run.directory, run.program.state)
        assert raised.value.exit_code == code


def test_many_skipped_updates_are_spoken_of(recorder, tmp_path, caplog):
    """2 of 65 in the end, in one line; the result counts them."""
    run = make_run(tmp_path)
    state = run.program.state
    counts = 2 * np.eye(NUM_COUNTS, dtype=np.int64)[1]
    run.program.state = state._replace(counts=tf.constant(counts))
    run.train()
    [line] = [record for record in caplog.messages if "skipped" in record]
    assert line.startswith("2 of 65 updates (3.1 %)")
    assert json.loads(run.directory.result.read_text())["skipped_updates"] == 2
