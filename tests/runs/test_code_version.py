"""What results say of the code that made them."""

import subprocess
from types import SimpleNamespace

import pytest

from dvae.runs import code_version, loop
from dvae.runs.checkpoints import Progress


@pytest.fixture
def tree(tmp_path, monkeypatch):
    (tmp_path / "dvae").mkdir()
    (tmp_path / "run.py").write_text("a = 1\n")
    (tmp_path / "dvae" / "x.py").write_text("b = 2\n")
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    return tmp_path


def _version():
    return code_version.code_version.__wrapped__()


def _git(tree, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *arguments], cwd=tree, check=True, capture_output=True)


def test_digest_follows_the_sources_alone(tree):
    before = _version()
    assert before["commit"] is None and len(before["sources"]) == 12
    (tree / "README.md").write_text("text")
    assert _version() == before
    (tree / "dvae" / "x.py").write_text("b = 3\n")
    assert _version()["sources"] != before["sources"]
    (tree / "dvae" / "x.py").write_text("b = 2\n")
    (tree / "dvae" / "x.py").rename(tree / "dvae" / "y.py")
    moved = _version()
    assert moved["sources"] != before["sources"]
    seen = {before["sources"], moved["sources"]}
    for package in ("dvae", "dvae/runs", "configs", "data", "samplers"):
        (tree / package / "new" / "deep").mkdir(parents=True)
        (tree / package / "new" / "deep" / "z.py").write_text("c = 4\n")
        assert _version()["sources"] not in seen
        seen.add(_version()["sources"])


def test_commit_and_later_changes(tree):
    _git(tree, "init", "-q")
    (tree / "other").write_text("x")
    _git(tree, "add", "other")
    _git(tree, "commit", "-qm", "x")
    assert _version()["commit"] is None  # another project's repository around ours
    _git(tree, "add", ".")
    _git(tree, "commit", "-qm", "y")
    commit = _version()["commit"]
    assert len(commit) == 10 and int(commit, 16) >= 0
    (tree / "run.py").write_text("a = 2\n")
    assert _version()["commit"] == f"{commit}+changes"


@pytest.mark.parametrize(
    "step, before, named",
    [
        (0, [], ["new"]),
        (7, ["new"], ["new"]),
        (7, ["old"], ["old", "new"]),
        (7, ["older", "old"], ["older", "old", "new"]),
    ],
)
def test_a_resumed_run_names_all_code_that_trained_it(step, before, named, capsys):
    progress = Progress(step=step, code=[{"sources": name, "commit": None} for name in before])
    stand_in = SimpleNamespace(progress=progress, _code={"sources": "new", "commit": None})
    loop.Run._note_code(stand_in)
    assert [code_version.version_name(version) for version in progress.code] == named
    assert ("trained by other code so far" in capsys.readouterr().out) == (len(named) > 1)
