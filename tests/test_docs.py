"""README and docs/ hold what they say: blocks run, flags exist, links lead somewhere."""

import argparse
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import run
import run_table
from tests.helpers.page_code import blocks, execute

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = {"own_data.md", "choosing.md"}  # their Python needs no TensorFlow
_GENERATED = re.compile(r"<!-- (.*?): begin -->.*?<!-- \1: end -->", re.S)
# What a command line starts with, and the program that parses the rest.
_PROGRAMS = {
    "run.py": "run",
    "run_table.py": "run_table",
    "examples/train_rbm.py": "train_rbm",
    "examples/table.sbatch": "run_table",
}


def _lines(page):
    """Command lines of blocks and of code in sentences."""
    lines = "\n".join(blocks(page, "")).splitlines()
    return lines + re.findall(r"`((?:\.venv/bin/)?(?:python|sbatch) [^`]+)`", page.read_text())


def _commands(lines):
    """(program or module, its arguments)."""
    for line in lines:
        words = [word for word in line.partition("#")[0].split() if word != "..."]
        for index, word in enumerate(words):
            if word in _PROGRAMS:
                yield _PROGRAMS[word], words[index + 1 :]
            if word == "-m" and words[index + 1].startswith("benchmarks."):
                yield words[index + 1], words[index + 2 :]


COMMANDS = [command for page in PAGES for command in _commands(_lines(page))]
# And those of --help.
COMMANDS += _commands([*run.EXAMPLES.splitlines(), *run_table.EXAMPLES.splitlines()])


def _by_name(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=_by_name)
def test_pages_are_short(page):
    text = page.read_text()
    if page.name == "README.md":
        lines = text.splitlines()
        assert len(lines) <= 200 and len(text.split()) <= 1800 and "<details" not in text
        assert max(map(len, lines)) <= 100
    else:
        assert len(_GENERATED.sub("", text).split()) <= 1500


@pytest.mark.parametrize("page", PAGES, ids=_by_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_readme_names_every_page_and_architecture_every_file():
    linked = re.findall(r"\]\(docs/([^)#]+\.md)\)", PAGES[0].read_text())
    assert {page.name for page in PAGES[1:]} == set(linked)
    named = set(re.findall(r"`(\w+\.py)`", (ROOT / "docs" / "architecture.md").read_text()))
    packages = ("configs", "data", "samplers", "dvae", "dvae/runs")
    files = {path.name for package in packages for path in (ROOT / package).glob("[a-z]*.py")}
    assert files == named - {"run.py", "run_table.py", "train_rbm.py", "numpy_reader.py"}


def _run_python(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    execute(page, blocks(page, "python"))


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_python_runs(name, tmp_path, monkeypatch):
    _run_python(ROOT / "docs" / name, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in QUICK], ids=_by_name)
def test_python_runs(page, tmp_path, monkeypatch):
    _run_python(page, tmp_path, monkeypatch)


@pytest.mark.parametrize("program", sorted(set(_PROGRAMS.values())))
def test_flags_are_known_to_our_parser(program):
    lines = [words for name, words in COMMANDS if name == program]
    assert lines
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.parse_commands", program],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("module", sorted({n for n, _ in COMMANDS if n.startswith("benchmarks.")}))
def test_benchmarks_know_their_arguments(module, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, *arguments):
        parse(parser, *arguments)
        raise StopIteration

    program = importlib.import_module(module)
    lines = [words for name, words in COMMANDS if name == module]
    if "parse_args" not in Path(program.__file__).read_text():
        assert not any(lines)  # it takes none
        lines = []
    for words in lines:
        monkeypatch.setattr(sys, "argv", [module, *words])
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        with pytest.raises(StopIteration):
            program.main()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["generate", "log_z"])
def test_quick_commands_run(mode, tmp_path):
    """Those of README on a shipped model, with --out_dir alone added."""
    [words] = [w for name, w in COMMANDS if f"--mode={mode}" in w and "models/" in " ".join(w)]
    command = [sys.executable, "run.py", *words, f"--out_dir={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert list(tmp_path.iterdir())
