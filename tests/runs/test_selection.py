"""What a run trains on, when it evaluates, which model it keeps, and what its result is of.

And runs that lost something: what is still there is used, and the advice of an error helps. The
loop, its monitor and its checkpoints are the program's; a step only counts itself into the weights
and the chains, and the evaluator gives the numbers that a test wrote down.
"""

import functools
import json
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import data
from configs.errors import UserError
from dvae.evaluation import Evaluator, LikelihoodEstimate
from dvae.runs import commands, loop
from dvae.runs.checkpoints import RunOptions, restore_model
from dvae.runs.export import export_run
from dvae.runs.loop import Run
from dvae.runs.monitor import Monitor
from dvae.runs.pictures import Diagnostics
from dvae.runs.process import Stopped
from dvae.runs.records import read_result
from dvae.runs.trained_model import TrainedModel
from dvae.train_state import NUM_COUNTS
from dvae.train_step import TrainProgram
from samplers import log_partition
from samplers.diagnostics import LogMeanEstimate
from samplers.log_partition import LogPartition
from tests.helpers import tiny_runs
from tests.helpers.odd_names import ODD_NAME
from tests.helpers.works import refused, works

# By step: the validation set is best at 40, the test set at 20, and 65 is the end.
VALIDATION = {10: 95.0, 20: 93.0, 30: 92.0, 40: 90.0, 50: 91.0, 60: 94.0, 65: 93.5}
TEST = {10: 95.0, 20: 80.0, 30: 92.0, 40: 93.0, 50: 89.0, 60: 88.0, 65: 87.5}
END, LOG_Z = 65, 7.0


@pytest.fixture(scope="module", autouse=True)
def recorder():
    """What the program was asked for; what takes time or is random is as written down above."""
    seen = SimpleNamespace(indices=[], evaluated=[], log_z=[], skips=False)  # all updates

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
        seen.evaluated.append((len(images), num_samples, batch_size, step, tuple(key.numpy())))
        nll = (VALIDATION if len(images) == 13 else TEST)[step] - LOG_Z
        return LikelihoodEstimate(nll, nll + 1, 0.1, 0.1, len(images))

    def estimate(model, params, chains, key, settings):
        seen.log_z.append((settings, float(chains.left.numpy()[0, 0])))
        return LogMeanEstimate(*(tf.constant(v, tf.float64) for v in (LOG_Z, 0.1, 9.0)))

    def measure(*arguments):
        estimate(*arguments)
        return LogPartition(LOG_Z, 0.1, 9.0, 6.0, LOG_Z, 0.1, "checked", None)

    image = np.zeros([10, 30], np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainProgram, "run", run)
        patch.setattr(TrainProgram, "trace", lambda *_: None)
        patch.setattr(Evaluator, "likelihood", likelihood)
        patch.setattr(log_partition, "estimate", estimate)
        patch.setattr(log_partition, "measure", measure)
        patch.setattr(Diagnostics, "latents", lambda *_: {"reconstruction": image})
        patch.setattr(Diagnostics, "decode", lambda *_: image)
        yield seen


def _config(folder, grey=False, **fields):
    path = tiny_runs.write_data(folder / "own.npz", grey)
    often = dict(eval_every=10, summary_every=1000)
    return tiny_runs.tiny_config(path, **(dict(num_train_iter=END) | often | fields))


def _made(folder):
    """A run of 65 steps."""
    own = dict(eval_batchsize=7, eval_iw_samples=4321, ais_base="fitted")
    config = _config(folder, grey=True, ais_temperatures=10, **own)  # not the summaries'
    return tiny_runs.made(config, folder / "run", checkpoint_minutes=10.0)


@pytest.fixture
def made(tmp_path):
    run = _made(tmp_path)
    yield run
    run.directory.unlock()


@pytest.fixture(scope="module")
def outcome(recorder, tmp_path_factory):
    """(result.json, metrics, what was asked for, the run) of 65 steps."""
    run = _made(tmp_path_factory.mktemp("outcome"))
    seen = {name: len(asked) for name, asked in vars(recorder).items() if name != "skips"}
    run.train()
    run.directory.unlock()
    seen = {name: getattr(recorder, name)[start:] for name, start in seen.items()}
    lines = map(json.loads, run.directory.metrics.read_text().splitlines())
    result = json.loads(run.directory.result.read_text())
    return result, list(lines), SimpleNamespace(**seen), run


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
    """65 steps of 10 of 77 images, as tests/data/test_batches.py wants them."""
    _, _, seen, _ = outcome
    assert np.shape(seen.indices) == (65, 10)
    np.testing.assert_array_equal(seen.indices, data.batch_indices(77, 10, 0, 0, 65))


# What is spoiled, words of the one line that says so, and the exit code.
NO_RESULT = {
    "never finite": (VALIDATION, "no model has a finite validation NLL", 2),
    "test not finite": (TEST, "test_nll nan", 2),
    "nothing trained": (None, "nothing was trained", 3),
}


@pytest.mark.parametrize("case", NO_RESULT)
def test_a_run_without_a_result_says_why(case, recorder, made, monkeypatch):
    """One line and no result.json; the same command again says the same, so does `evaluate`."""
    spoiled, words, code = NO_RESULT[case]
    monkeypatch.setattr(recorder, "skips", spoiled is None)
    for step in spoiled or ():
        monkeypatch.setitem(spoiled, step, float("nan"))
    for _ in range(2):
        with refused(words) as raised:
            made.train()
        assert getattr(raised.value, "exit_code", 2) == code
        assert not made.directory.result.exists()
    kept = {path.name for path in made.directory.checkpoints.glob("best-*")}
    assert kept == ({"best-0000000040"} if case == "test not finite" else set())
    if not kept:
        with refused() as raised:
            restore_model(made.directory, made.program.state)
        assert raised.value.exit_code == code


def test_many_skipped_updates_are_spoken_of(made, caplog):
    """2 of 65 in the end, in one line; the result counts them."""
    counts = 2 * np.eye(NUM_COUNTS, dtype=np.int64)[1]
    made.program.state = made.program.state._replace(counts=tf.constant(counts))
    made.train()
    [line] = [record for record in caplog.messages if "skipped" in record]
    assert line.startswith("2 of 65 updates (3.1 %)")
    assert json.loads(made.directory.result.read_text())["skipped_updates"] == 2


def _train(config, path, fresh=False, **options):
    commands.train_run(config, data.load(config.dataset, "."), path, fresh, RunOptions(**options))
    return json.loads((path / "result.json").read_text())["best_step"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(configuration, directory) of a run in a directory with a name of all sorts."""
    folder = tmp_path_factory.mktemp("advice") / ODD_NAME
    folder.mkdir()
    config = _config(folder)
    assert _train(config, folder / ODD_NAME, keep_steps=(40,)) == 40
    return config, folder / ODD_NAME


@pytest.fixture
def run(finished, tmp_path):
    """The same, for one's own."""
    shutil.copytree(finished[1], tmp_path / "run")
    return finished[0], tmp_path / "run"


def _lose(path, how, *names):
    """Removes or damages the checkpoints of these names, or writes a file."""
    if how == "write":
        (path / names[0]).write_text(names[1])
        return
    for found in [p for p in (path / "checkpoints").iterdir() if p.name.startswith(names)]:
        shutil.rmtree(found) if how == "remove" else (found / "tensors.index").write_bytes(b"")


def _load(config, path):
    return TrainedModel(path).step


def _without_result(config, path):
    (path / "result.json").unlink()
    return _train(config, path)


def test_a_run_in_a_directory_of_any_name_is_read_exported_and_gone_on_with(finished, tmp_path):
    config, path = finished
    assert TrainedModel(path).step == 40
    assert TrainedModel(export_run(path, tmp_path / ODD_NAME)).step == 40
    assert _without_result(config, path) == 40
    points = tiny_runs.event_points(path)
    assert len(points) == len(set(points)) > 0
    assert (path / "metrics.jsonl").read_text().count('"evaluation"') == 7


_ONE, _ALL, _NONE = "remove .*result.json", "start anew with (--)?fresh=True", "train anew"


@pytest.mark.parametrize("how", ["damage", "remove"], ids=["damaged", "missing"])
def test_a_lost_best_model_is_read_from_another_checkpoint_of_its_step(run, how, tmp_path):
    """An export says how to get it back."""
    config, path = run
    _lose(path, how, "best")
    with refused(_ONE) as caught:
        export_run(path, tmp_path / "exported")
    assert str(path) in str(caught.value)
    with works(UserError):
        assert TrainedModel(path).step == 40
        assert _without_result(config, path) == 40, "and written anew by the run itself"
        _lose(path, "remove", "kept")
        assert TrainedModel(path).step == 40
        assert TrainedModel(export_run(path, tmp_path / "exported")).step == 40


def test_the_newest_checkpoint_has_the_best_model_if_it_is_of_that_step(tmp_path):
    config, path = _config(tmp_path, num_train_iter=40), tmp_path / "run"
    assert _train(config, path) == 40
    value = TrainedModel(path).model.variables[0].numpy()
    _lose(path, "damage", "best")
    with works(UserError):
        found = TrainedModel(path)
    assert found.step == 40
    assert (found.model.variables[0].numpy() == value).all()
    assert _without_result(config, path) == 40
    assert (path / "checkpoints" / "best-0000000040" / "tensors.index").stat().st_size > 0


_fresh = functools.partial(_train, fresh=True)


def _present(config, path):
    return read_result(path / "result.json")


# What is lost; what is tried; words of the error; what it says helps; the best step of then.
_CASES = {
    "best lost": ("remove best kept", _load, _ONE, _without_result, END),
    "best damaged": ("damage best kept", _load, _ONE, _without_result, END),
    "all lost": ("remove best kept latest", _load, _ONE, _without_result, 40),
    "all damaged": ("damage best kept latest", _without_result, _ALL, _fresh, 40),
    "result damaged": ("write result.json {", _present, "result.json", _without_result, 40),
    "config damaged": ("write config.json {", _train, _NONE, _fresh, 40),
    "config of another": ("write config.json {}", _load, "version that wrote it", _fresh, 40),
}


@pytest.mark.parametrize("case", _CASES)
def test_what_an_error_advises_helps(run, case):
    lose, attempt, words, remedy, best = _CASES[case]
    _lose(run[1], *lose.split())
    with refused(words):
        attempt(*run)
    with works(UserError):
        assert remedy(*run) == best
        assert _load(*run) == best


def test_a_run_that_was_stopped_before_it_had_a_best_model_goes_on(tmp_path, monkeypatch):
    run = _config(tmp_path), tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Monitor, "evaluate", lambda *_: (x for x in ()).throw(Stopped(15)))
        _train(*run)
    with pytest.raises(UserError, match="its command, started again, goes on"):
        _load(*run)
    assert _train(*run) == _load(*run) == 40


def test_a_signal_in_the_final_evaluation_costs_that_alone(tmp_path, monkeypatch):
    config, path = _config(tmp_path, num_train_iter=10), tmp_path / "run"

    def stopped(*arguments):
        signal.raise_signal(signal.SIGUSR2)
        arguments[-1]()  # the check for signals

    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(loop, "evaluate_model", stopped)
            _train(config, path)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not (path / "result.json").exists() and not (path / "lock.json").exists()
    monkeypatch.setattr(Run, "_advance", None)  # no step more
    assert _train(config, path) == 10
