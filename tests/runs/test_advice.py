"""Runs that lost something: what is still there is used, and the advice of an error helps.

Nothing is trained: see tests/runs/test_selection.py for what stands in for it.
"""

import json
import shutil
import signal
from pathlib import Path

import pytest

import data
from configs.errors import UserError
from dvae.runs import commands, loop
from dvae.runs.checkpoints import RunOptions
from dvae.runs.export import export_run
from dvae.runs.loop import Run
from dvae.runs.monitor import Monitor
from dvae.runs.process import Stopped
from dvae.runs.records import read_result
from dvae.runs.trained_model import TrainedModel
from tests.helpers import tiny_runs
from tests.helpers.odd_names import ODD_NAME
from tests.helpers.works import works
from tests.runs.test_selection import stand_in

END = 65
_ONE, _ALL, _NONE = "remove .*result.json", "start anew with (--)?fresh=True", "train anew"


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        yield stand_in(patch)


def _config(folder, steps=END):
    path = tiny_runs.write_data(folder / "own.npz", grey=False)
    return tiny_runs.tiny_config(path, num_train_iter=steps, eval_every=10, summary_every=1000)


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


def _damage(*names):
    def damage(path):
        for name in names:
            for found in [p for p in (path / "checkpoints").iterdir() if p.name.startswith(name)]:
                (found / "tensors.index").write_bytes(b"")

    return damage


def _remove(*names):
    def remove(path):
        for name in names:
            for found in [p for p in (path / "checkpoints").iterdir() if p.name.startswith(name)]:
                shutil.rmtree(found)

    return remove


def _fill(name, content):
    return lambda path: (path / name).write_text(content)


def _present(config, path):
    return read_result(path / "result.json")


def _again(config, path):
    return _train(config, path)


def _without_result(config, path):
    (path / "result.json").unlink()
    return _train(config, path)


def _fresh(config, path):
    return _train(config, path, fresh=True)


def test_a_run_in_a_directory_of_any_name_is_read_exported_and_gone_on_with(finished, tmp_path):
    config, path = finished
    assert TrainedModel(path).step == 40
    exported = export_run(path, tmp_path / ODD_NAME)
    assert TrainedModel(exported).step == 40
    assert _without_result(config, path) == 40
    points = tiny_runs.event_points(path)
    assert len(points) == len(set(points)) > 0
    assert (path / "metrics.jsonl").read_text().count('"evaluation"') == 7


@pytest.mark.parametrize("lose", [_damage("best"), _remove("best")], ids=["damaged", "missing"])
def test_a_lost_best_model_is_read_from_another_checkpoint_of_its_step(run, lose):
    config, path = run
    lose(path)
    with works(UserError):
        assert TrainedModel(path).step == 40
        assert _without_result(config, path) == 40, "and written anew by the run itself"
        _remove("kept")(path)
        assert TrainedModel(path).step == 40


def test_an_export_says_how_to_get_a_lost_best_model_back(run, tmp_path):
    config, path = run
    for lose in (_damage("best"), _remove("best")):
        lose(path)
        with pytest.raises(UserError, match=_ONE) as caught:
            export_run(path, tmp_path / "exported")
        assert str(path) in str(caught.value)
        assert _without_result(config, path) == 40
    assert TrainedModel(export_run(path, tmp_path / "exported")).step == 40


def test_the_newest_checkpoint_has_the_best_model_if_it_is_of_that_step(tmp_path):
    config = _config(tmp_path, steps=40)
    path = tmp_path / "run"
    assert _train(config, path) == 40
    value = TrainedModel(path).model.variables[0].numpy()
    _damage("best")(path)
    with works(UserError):
        found = TrainedModel(path)
    assert found.step == 40
    assert (found.model.variables[0].numpy() == value).all()
    assert _without_result(config, path) == 40
    assert (path / "checkpoints" / "best-0000000040" / "tensors.index").stat().st_size > 0


# What is lost; what is tried; words of the error; what it says helps; the best step of then.
_CASES = {
    "best lost": (_remove("best", "kept"), TrainedModel, _ONE, _without_result, END),
    "best damaged": (_damage("best", "kept"), TrainedModel, _ONE, _without_result, END),
    "all lost": (_remove(""), TrainedModel, _ONE, _without_result, 40),
    "all damaged": (_damage(""), _without_result, _ALL, _fresh, 40),
    "result damaged": (_fill("result.json", "{"), _present, "result.json", _without_result, 40),
    "config damaged": (_fill("config.json", "{"), _again, _NONE, _fresh, 40),
    "config of another": (_fill("config.json", "{}"), TrainedModel, "has format", _fresh, 40),
}


@pytest.mark.parametrize("case", _CASES)
def test_what_an_error_advises_helps(run, case):
    config, path = run
    lose, attempt, words, remedy, best = _CASES[case]
    lose(path)
    with pytest.raises(UserError, match=words) as caught:
        attempt(path) if attempt is TrainedModel else attempt(config, path)
    assert len(str(caught.value).splitlines()) == 1
    with works(UserError):
        assert remedy(config, path) == best
        assert TrainedModel(path).step == best


def test_a_run_that_was_stopped_before_it_had_a_best_model_goes_on(tmp_path, monkeypatch):
    config, path = _config(tmp_path), tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Monitor, "evaluate", lambda *_: (_ for _ in ()).throw(Stopped(15)))
        _train(config, path)
    with pytest.raises(UserError, match="its command, started again, goes on"):
        TrainedModel(path)
    assert _again(config, path) == 40
    assert TrainedModel(Path(path)).step == 40


def test_a_signal_in_the_final_evaluation_costs_that_alone(tmp_path, monkeypatch):
    config, path = _config(tmp_path, steps=10), tmp_path / "run"

    def stopped(*arguments):
        signal.raise_signal(signal.SIGUSR2)
        check = arguments[-1]
        check()

    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(loop, "evaluate_model", stopped)
            _train(config, path)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not (path / "result.json").exists() and not (path / "lock.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_advance", None)  # no step more
        assert _again(config, path) == 10
