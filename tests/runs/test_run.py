"""The command line: bad input ends with one line and code 2; a run leaves what it promises."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import data
import run
from configs import command_line, paper
from configs.errors import UserError
from dvae.runs import commands

ROOT = Path(__file__).parents[2]


def _run(capsys, *arguments):
    """run.py in this process: exit code, stdout, stderr."""
    saved = flags.FLAGS.flag_values_dict()
    flags.FLAGS.unparse_flags()
    try:
        with pytest.raises(SystemExit) as stop:
            command_line.parse(["run.py", *arguments, "--compile_cache="])
            command_line.guarded(run.main)
    finally:
        flags.FLAGS.unparse_flags()
        for name, value in saved.items():
            flags.FLAGS[name].value = value
            flags.FLAGS[name].present = 0
        flags.FLAGS.mark_as_parsed()
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


_BAD_FLAGS = {
    "--baseline=dvae_magic": "--baseline=dvae_magic is unknown; choose one of: dvae_spike_exp",
    "--struct=9-layer": "--struct=9-layer is unknown",
    "--dataset=cifar": "--dataset=cifar is unknown",
    "--beta=0": "--beta=0 must be",
    "--beta=-3": "--beta=-3 must be",
    "--beta=nan": "--beta=nan must be",
    "--k=0": "--k=0 must be at least 1",
    "--num_train_iter=0": "--num_train_iter=0 must be at least 1",
    "--base_lr=0": "--base_lr=0 must be",
    "--seed=-1": "--seed=-1 must",
    "--train_batchsize=5000": "exceeds the 1297 training images",
    "--input_size=63": "63",
    "--mode=evaluate": "--mode=evaluate needs --run=DIR",
    "stray": "unexpected argument 'stray'",
}


@pytest.mark.parametrize("bad", _BAD_FLAGS)
def test_bad_flags_give_one_line(capsys, tmp_path, bad):
    base = [] if bad.startswith("--dataset") else ["--dataset=digits"]
    code, out, err = _run(capsys, *base, f"--log_dir={tmp_path}/logs", bad)
    lines = err.strip().split("\n")
    assert code == 2
    assert lines[-1].startswith("error: ")
    assert _BAD_FLAGS[bad] in lines[-1]
    assert "Traceback" not in out + err
    assert not (tmp_path / "logs").exists()


def _bad_files(folder):
    """Damaged data files, each with a word that its message must hold."""
    good = np.random.default_rng(0).random((20, 9))
    parts = dict(train=good, validation=good, test=good)
    np.savez(folder / "range.npz", **(parts | {"train": good * 3.0}))
    np.savez(folder / "shape.npz", **(parts | {"test": good[:, :5]}))
    np.savez(folder / "lacks.npz", train=good, test=good)
    whole = folder / "whole.npz"
    np.savez(whole, **parts)
    (folder / "truncated.npz").write_bytes(whole.read_bytes()[:700])
    (folder / "text.npz").write_text("not a zip file")
    return ["range", "shape", "lacks", "truncated", "text", "missing"]


def test_bad_data_files_give_one_line(capsys, tmp_path):
    for name in _bad_files(tmp_path):
        path = tmp_path / f"{name}.npz"
        code, out, err = _run(capsys, f"--dataset={path}", f"--log_dir={tmp_path}/logs")
        lines = err.strip().split("\n")
        assert code == 2, name
        assert lines[-1].startswith("error: ") and f"{name}.npz" in lines[-1], lines
        assert "Traceback" not in out + err
    assert not (tmp_path / "logs").exists()


def test_log_dir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = _run(capsys, "--dataset=digits", f"--log_dir={tmp_path}/file/logs")
    assert code == 2
    assert "choose another --log_dir" in err.strip().split("\n")[-1]


_LONG = "n" * 300
_NO_PATHS = {
    "train": ("--dataset=digits", "--log_dir={}"),
    "train again": ("--dataset=digits", "--log_dir={}", "--ais_base=fitted"),
    "evaluate": ("--mode=evaluate", "--run={}"),
    "generate": ("--mode=generate", "--run={}", "--out_dir={}"),
    "log_z": ("--mode=log_z", "--run={}"),
    "export": ("--mode=export", "--run={}"),
    "time": ("--mode=time", "--dataset=omniglot", "--data_dir={}"),
    "data": ("--dataset=binarized_mnist", "--data_dir={}"),
    "file": ("--dataset={}.npz",),
}


@pytest.mark.parametrize("arguments", _NO_PATHS.values(), ids=_NO_PATHS)
def test_paths_that_cannot_be_are_one_line(capsys, tmp_path, monkeypatch, arguments):
    """A name too long, a file in the place of a directory, a directory closed to this user."""
    (tmp_path / "file").write_text("in the way")
    _close(monkeypatch, tmp_path / "closed")
    monkeypatch.setattr("data.download.RETRIES", 0)
    for path in (_LONG, tmp_path / "file" / "below", tmp_path / "closed" / "below" / "run"):
        code, out, err = _run(capsys, *(argument.format(path) for argument in arguments))
        [line] = err.strip().split("\n")
        assert code == 2 and line.startswith("error: ") and len(line) < 1000
        assert str(path)[:40] in line and "Traceback" not in out


def _close(monkeypatch, folder):
    """Says what a user hears who is not root of a directory that is another's."""
    for name in ("stat", "lstat", "mkdir", "open", "listdir", "scandir"):
        monkeypatch.setattr(os, name, functools.partial(_refused, getattr(os, name), str(folder)))


def _refused(function, folder, path=".", *arguments, **options):
    if isinstance(path, str | Path) and str(path).startswith(folder + "/"):
        raise PermissionError(13, "Permission denied", str(path))
    return function(path, *arguments, **options)


def test_published_flags_keep_names_and_defaults():
    published = dict(
        data_dir="./data",
        log_dir="./logs",
        dataset="binarized_mnist",
        struct="2-layer-nonlin",
        baseline="dvaes_power",
        qupa=True,
        k=1,
        beta=None,
        num_train_iter=1_000_000,
        train_batchsize=100,
        eval_batchsize=None,
        eval_iw_samples=4000,
        base_lr=3e-3,
        input_size=784,
    )
    for name, default in published.items():
        assert flags.FLAGS[name].default == default, name


# A valid value of each flag, and the modes that heed it.
_TRAIN = "train time"
_ANY = "train time evaluate generate log_z export"
_HEEDED = {
    "--dataset=digits": f"{_TRAIN} evaluate",
    "--data_dir=elsewhere": f"{_TRAIN} evaluate",
    "--log_dir=elsewhere": f"{_TRAIN} evaluate generate log_z",
    "--run=models/digits-1-layer-nonlin-dvaes_power-k1": "evaluate generate log_z export",
    "--out_dir=elsewhere": "evaluate generate log_z export",
    "--step=3": "evaluate generate log_z",
    "--seed=2": f"{_TRAIN} evaluate generate log_z",
    "--num_images=3": "generate",
    "--eval_iw_samples=7": f"{_TRAIN} evaluate",
    "--eval_batchsize=7": f"{_TRAIN} evaluate",
    "--ais_chains=7": f"{_TRAIN} evaluate log_z",
    "--ais_temperatures=7": f"{_TRAIN} evaluate log_z",
    "--ais_base=fitted": f"{_TRAIN} evaluate log_z",
    "--compile_cache=": _ANY,
}
_HEEDED |= dict.fromkeys(
    "--struct=1-layer-lin --baseline=vimco --k=7 --sampler=pcd --noqupa --beta=3 --base_lr=0.1 "
    "--num_train_iter=9 --train_batchsize=9 --input_size=64 --eval_every=9 --summary_every=9 "
    "--num_chains=9 --num_sweeps=9 --resample_threshold=0.5 --log_z_population=none "
    "--log_z_chains=9 --fresh --checkpoint_minutes=1 --max_unsaved_minutes=1 "
    "--keep_steps=5".split(),
    _TRAIN,
)


def test_each_mode_heeds_a_flag_or_says_that_it_does_not_know_it(capsys, monkeypatch):
    """In one line, before anything is done; every flag of every mode."""
    names = {flag[2:].removeprefix("no").partition("=")[0] for flag in _HEEDED}
    ours = {flag.name for flag in flags.FLAGS.flags_by_module_dict()["run"]}
    assert names | {"mode"} == ours | {"log_dir"}  # which is absl's
    done = []
    for mode in ("train", "time", "evaluate", "generate", "log_z", "export"):
        monkeypatch.setattr(commands, mode, lambda *_, mode=mode, **__: done.append(mode) or 0)
    monkeypatch.setattr(commands, "TrainedModel", lambda *_, **__: None)
    monkeypatch.setattr(data, "load", lambda *_: None)
    run_of, k_of_vimco = "--run=models/digits-1-layer-nonlin-dvaes_power-k1", "--k=2"
    for mode in _ANY.split():
        for flag, heeded in _HEEDED.items():
            more = [run_of] if mode not in ("train", "time") and flag != run_of else []
            more += [k_of_vimco] if "vimco" in flag and mode in heeded else []
            code, _, err = _run(capsys, f"--mode={mode}", *more, flag)
            if mode in heeded.split():
                assert (code, done) == (0, [mode]), (mode, flag, err)
            else:
                name = flag.removeprefix("--no").removeprefix("--").partition("=")[0]
                assert (code, done) == (2, []), (mode, flag)
                assert err.startswith(f"error: --mode={mode} does not know --{name}, ")
                assert len(err.splitlines()) == 1
            done.clear()


def test_what_is_given_reaches_the_mode(capsys, monkeypatch):
    """Settings that a finished run is measured with, or drawn from, and nothing else."""
    seen = []
    monkeypatch.setattr(commands, "TrainedModel", lambda _, **given: seen.append(given))
    for mode in ("evaluate", "generate"):
        monkeypatch.setattr(commands, mode, lambda *_, **given: seen.append(given) or 0)
    model = "--run=models/digits-1-layer-nonlin-dvaes_power-k1"
    assert _run(capsys, "--mode=generate", model, "--seed=2", "--num_images=5")[0] == 0
    assert _run(capsys, "--mode=evaluate", model, "--ais_chains=7", "--dataset=digits")[0] == 0
    places = {"data_dir": "./data", "step": None, "dataset": None}
    assert seen == [
        *(places | {"seed": 2}, {"num_images": 5}),
        *(places | {"dataset": "digits", "ais_chains": 7}, {}),
    ]


def test_a_run_without_a_mode_is_not_trained(capsys, monkeypatch):
    monkeypatch.setattr(commands, "train", lambda *_, **__: pytest.fail("trains"))
    code, _, err = _run(capsys, "--run=models/digits-1-layer-nonlin-dvaes_power-k1")
    assert code == 2 and "--mode=train does not know --run" in err
    for mode in ("evaluate", "generate", "log_z", "export"):
        code, _, err = _run(capsys, f"--mode={mode}", "--run=nowhere")
        assert code == 2 and "there is no run at nowhere" in err


def test_paths_of_flags_may_begin_with_a_tilde(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = {}
    monkeypatch.setattr(commands, "train", lambda _, __, **given: seen.update(given) or 0)
    monkeypatch.setattr(data, "load", lambda _, place, __: seen.update(data_dir=place))
    assert _run(capsys, "--dataset=~/own.npz", "--data_dir=~/data", "--log_dir=~/logs")[0] == 0
    assert seen["data_dir"] == f"{tmp_path}/data"
    assert str(seen["run_path"]).startswith(f"{tmp_path}/logs/own.npz/")
    shutil.copytree(ROOT / "models/digits-1-layer-nonlin-dvaes_power-k1", tmp_path / "model")
    monkeypatch.setattr(commands, "TrainedModel", lambda path, **_: path)
    monkeypatch.setattr(commands, "generate", lambda *places, **_: seen.update(places=places) or 0)
    assert _run(capsys, "--mode=generate", "--run=~/model", "--out_dir=~/out")[0] == 0
    assert seen["places"] == (tmp_path / "model", tmp_path / "out")


_QUICK = """
import contextlib, io, sys
import {program}
for line in ({lines}):
    printed, said = io.StringIO(), io.StringIO()
    sys.argv = ["{program}.py", *line]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            {program}.program()
    except SystemExit as stop:
        first = (printed.getvalue() + said.getvalue()).strip().splitlines()[:1]
        slow = sorted({{"tensorflow", "scipy", "matplotlib"}} & set(sys.modules))
        print(stop.code, *first, *slow, sep="|")
"""


@pytest.mark.parametrize(
    ("program", "usage", "said"),
    [
        ("run", "--k=0", "error: --k=0 must be at least 1"),
        ("run", "--mode=evaluate", "error: --mode=evaluate needs --run=DIR"),
        ("run", "--dataset=nowhere.npz", "error: nowhere.npz: does not exist"),
        ("run", "--help", "Examples:"),
        ("run_table", "--jobs=0", "error: --jobs=0 must be at least 1"),
        ("run_table", "--help", "Examples:"),
    ],
)
def test_usage_is_answered_before_anything_slow_is_imported(program, usage, said):
    script = _QUICK.format(program=program, lines=f"[{usage!r}],")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    code, first, *slow = done.stdout.strip().splitlines()[-1].split("|")
    assert code == ("0" if usage == "--help" else "2") and first.startswith(said)
    assert not slow


def test_flag_files_are_valid():
    for path in sorted((ROOT / "configs").glob("*.flags")):
        names = [line.split("=")[0] for line in path.read_text().splitlines() if line[:2] == "--"]
        assert names and all(name[2:] in flags.FLAGS for name in names), path


def test_config_survives_json_and_refuses_wrong_types():
    config = paper.build_config(baseline="dvaes_exp", struct="4-layer-nonlin", k=5)
    assert (config.beta, config.eval_every) == (10.0, 20_000)
    record = json.loads(json.dumps(config.to_json()))
    assert paper.ExperimentConfig.from_json(record) == config
    for name, value in (("k", "5"), ("k", True), ("structure", None), ("seed", 1.5), ("x", 1)):
        with pytest.raises(UserError):
            paper.ExperimentConfig.from_json(record | {name: value})
