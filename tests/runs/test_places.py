"""One name, several settings: each run has a directory of its own, found again in any order."""

import ast
import itertools
import json
import re
from pathlib import Path

import pytest

import dvae
from configs.errors import UserError
from dvae.runs import commands, interface
from dvae.runs.directory import RunDirectory
from dvae.runs.records import read_config
from tests.helpers import hand_made_results, stand_in_table, tiny_runs
from tests.helpers.works import works

ROOT = Path(__file__).parents[2]


def _quickstart():
    lines = (ROOT / "configs" / "quickstart.flags").read_text().splitlines()
    pairs = [line.removeprefix("--").split("=") for line in lines if line.startswith("--")]
    numbers = {name: int(value) for name, value in pairs if value.isdigit()}
    return dict(pairs) | numbers


def _arguments_of(source):
    """Of the call of dvae.train in a program."""
    [call] = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "dvae.train"
    ]
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


def _snippet():
    text = (ROOT / "README.md").read_text()
    [source] = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.S) if ".train(" in block
    ]
    return _arguments_of(source)


def _notebook():
    cells = json.loads((ROOT / "examples" / "tour.ipynb").read_text())["cells"]
    sources = ("".join(cell["source"]) for cell in cells)
    return _arguments_of(next(source for source in sources if "dvae.train(" in source))


EXAMPLES = {"quickstart": _quickstart(), "snippet": _snippet(), "notebook": _notebook()}


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Settings to the directory of their run; nothing is trained."""

    class Nothing:
        def __init__(self, config, dataset, directory, options):
            self._directory = directory

        def train(self):
            (self._directory.path / "trained").touch()

    monkeypatch.setattr(commands, "Run", Nothing)
    monkeypatch.setattr(interface, "TrainedModel", lambda path, *_: path)
    return lambda **settings: dvae.train(log_dir=tmp_path / "logs", **settings)


@pytest.mark.parametrize("order", list(itertools.permutations(EXAMPLES)), ids=" ".join)
def test_the_examples_do_not_collide_in_any_order(train, order, capsys):
    with works(UserError):
        places = {name: train(**EXAMPLES[name]) for name in order}
    assert len(set(places.values())) == len(EXAMPLES)
    said = [line for line in capsys.readouterr().out.splitlines() if "of other settings" in line]
    assert len(said) == 2
    assert all(train(**EXAMPLES[name]) == places[name] for name in order)
    for name, place in places.items():
        wanted = EXAMPLES[name]["num_train_iter"]
        assert json.loads((place / "config.json").read_text())["num_train_iter"] == wanted


def test_a_run_is_found_though_the_one_before_it_is_gone_or_damaged(train):
    settings = [dict(dataset="digits", num_train_iter=steps) for steps in (1000, 2000, 3000)]
    first, second, third = places = [train(**each) for each in settings]
    (first / "config.json").write_text("{")
    assert train(**settings[1]) == second
    with pytest.raises(UserError, match=re.escape(f"{first / 'config.json'}")):
        train(dataset="digits", num_train_iter=4000)
    for path in sorted(first.iterdir()):
        path.unlink()
    assert train(**settings[2]) == third
    assert train(dataset="digits", num_train_iter=4000) == first  # the first that is free
    assert train(**settings[0]) not in places


def test_two_that_start_at_once_share_nothing(tmp_path, monkeypatch):
    """One finds the place free, and taken by another run's settings before it has the lock."""
    path = tmp_path / "run"
    one, other = (tiny_runs.tiny_config("own.npz", k=k) for k in (1, 2))
    holder, open_one = RunDirectory(path), RunDirectory.open

    def late(directory, *arguments):
        monkeypatch.setattr(RunDirectory, "open", open_one)
        holder.open(other, "5a", fresh=False)
        open_one(directory, *arguments)

    monkeypatch.setattr(RunDirectory, "open", late)
    found = RunDirectory.of_run(path, one, "5a", fresh=False)
    assert found.path == tmp_path / "run-2"
    assert read_config(found.path)[0] == one and read_config(holder.path)[0] == other
    for directory in (found, holder):
        directory.unlock()


def test_fresh_starts_anew_where_the_run_lies(train):
    first, second = (train(dataset="digits", num_train_iter=steps) for steps in (1000, 2000))
    assert train(dataset="digits", num_train_iter=2000, fresh=True) == second
    [old] = [path for path in second.parent.iterdir() if ".old-" in path.name]
    assert old.name.startswith(second.name) and (old / "trained").exists()
    assert (first / "trained").exists()


def test_a_table_finds_a_run_beside_another(tmp_path):
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    hand_made_results.write(tmp_path, 90.0, k=1, num_train_iter=10)
    assert not run.is_finished()
    run.directory.rename(run.directory.with_name("aside"))
    hand_made_results.write(tmp_path, 90.0, k=1)
    run.directory.rename(run.directory.with_name(f"{run.directory.name}-2"))
    run.directory.with_name("aside").rename(run.directory)
    assert run.is_finished()
