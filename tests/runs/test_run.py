"""run.py and dvae.train: wrong settings and paths end with one line, each mode heeds its flags."""

import functools
import inspect
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import data
import dvae
from configs.settings import SETTINGS
from dvae.runs import commands
from tests.helpers.works import refused

ROOT = Path(__file__).parents[2]
MODEL = "--run=models/digits-1-layer-nonlin-dvaes_power-k1"


# On the command line and from Python; words of both messages, but for dashes.
_BOTH = {
    "struct=9-layer": "struct=9-layer is unknown; choose one of: 1-layer-lin",
    "baseline=dvae_magic": "baseline=dvae_magic is unknown; choose one of: dvae_spike_exp",
    "sampler=gibbs": "",
    "dataset=cifar": "dataset=cifar is unknown",
    "dataset=nowhere/own.npz": "nowhere/own.npz",
    "beta=0": "beta=0 must be positive",
    "beta=-3": "beta=-3 must be positive",
    "beta=nan": "beta=nan must be positive",
    "beta=1e300": "beta=1e+300 must be positive and at most 3.4e+38",
    "beta=inf": "beta=inf must be positive and at most",
    "k=0": "k=0 must be at least 1",
    "num_train_iter=0": "num_train_iter=0 must be at least 1",
    "base_lr=0": "base_lr=0 must be",
    "base_lr=nan": "base_lr=nan must be positive",
    "base_lr=1e-60": "base_lr=1e-60 must be positive",
    "seed=-1": "seed=-1 must",
    "train_batchsize=5000": "train_batchsize=5000 exceeds the 1297 training images",
    "input_size=63": "use input_size=64",
    "log_dir=/proc/x--y": "cannot write to /proc/x--y",
}
_FLAGS = {
    "--mode=evaluate": "--mode=evaluate needs --run=DIR",
    "stray": "unexpected argument 'stray'",
    **{bad: "" for bad in ("--nosuch=1", "--k=many", "--mode=dance", "--log_dir=a\0b")},
}


@pytest.mark.parametrize("bad", [*_BOTH, *_FLAGS])
def test_wrong_settings_are_one_line(fails, tmp_path, monkeypatch, bad):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    data_set = [] if bad.startswith("dataset") else ["--dataset=digits"]
    if bad in _FLAGS:
        assert _FLAGS[bad] in fails(*data_set, bad)
    else:
        name, _, text = bad.partition("=")
        said = fails(*data_set, f"--{bad}")
        assert _BOTH[bad] in said.replace(" --", " ") and (f"--{name}" in said or "/" in bad)
        given = {"dataset": "digits", "num_train_iter": 40, name: SETTINGS[name].kind(text)}
        with refused(kind=ValueError) as error:
            dvae.train(**given)
        assert (_BOTH[bad] or f"{bad} is unknown") in str(error.value)
        assert " --" not in str(error.value)
    assert not any(Path.cwd().iterdir())


def _digits(**changed):
    return lambda: dvae.train("digits", **({"num_train_iter": 40} | changed))


_PYTHON = {
    "struct": (_digits(struct=3), "struct is 3, not of type str"),
    "k": (_digits(k="5"), "k is '5', not of type int"),
    "k fraction": (_digits(k=1.5), "k is 1.5, not of type int"),
    "k of NumPy": (_digits(k=np.int64(-1)), "k=-1 must be at least 1"),
    "beta": (_digits(beta="high"), "beta is 'high'"),
    "beta of 401 digits": (_digits(beta=10**400), "beta=inf must be positive and at most"),
    "seed": (_digits(seed=1.0), "seed is 1.0, not of type int"),
    "seed of NumPy": (_digits(seed=np.float32(1)), "not of type int"),
    "seed of 5001 digits": (_digits(seed=10**5000), "must be at most 2147483647"),
    "a truth value": (_digits(k=True), "k is True, not of type int"),
    "fresh": (_digits(fresh="yes"), "fresh is 'yes', not of type bool"),
    "an array": (_digits(k=np.arange(100).reshape(10, 10)), "not of type int"),
    "keep_steps": (_digits(keep_steps=(0,)), "keep_steps=0 must be at least 1"),
    "keep_steps one": (_digits(keep_steps=10), "keep_steps is 10; it must be a list of whole"),
    "keep_steps text": (_digits(keep_steps="10"), "keep_steps is '10'; it must be a list"),
    "keep_steps half": (_digits(keep_steps=[10, 1.5]), "it must be a list of whole numbers"),
    "negative time": (_digits(max_unsaved_minutes=-1.0), "max_unsaved_minutes=-1 must be at"),
    "no time": (_digits(checkpoint_minutes=np.nan), "checkpoint_minutes=nan must be at least 0"),
    "log_dir": (_digits(log_dir=3), "log_dir is 3, not of type str or path"),
    "no such run": (lambda: dvae.load("nowhere"), "there is no run at /"),
    "no path": (lambda: dvae.load(3), "path is 3, not a path"),
    "step": (lambda: dvae.load("nowhere", step=1.0), "step is 1.0, not of type int"),
}


@pytest.mark.parametrize("case", _PYTHON)
def test_wrong_arguments(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = _PYTHON[case]
    with refused(kind=ValueError) as error:
        call()
    assert words in str(error.value) and " --" not in str(error.value)
    assert not list(tmp_path.glob("logs/**/config.json"))


def test_unknown_arguments():
    hints = {"num_train_iters": "did you mean num_train_iter?", "batch_size": "train_batchsize?"}
    hints |= dict.fromkeys(("sharpness", "mode"), "lists the settings")
    for name, hint in hints.items():
        with pytest.raises(TypeError) as error:
            dvae.train("digits", **{name: 1})
        said = str(error.value)
        assert f"no setting {name}: " in said and hint in said and len(said) < 100


def test_every_setting_is_in_signature_and_help():
    """With the defaults of run.py, but for the directory of the data."""
    parameters = inspect.signature(dvae.train).parameters
    assert {"dataset", "k", "num_train_iter", "beta", "keep_steps", "ais_base"} <= set(parameters)
    assert parameters["eval_iw_samples"].default == 4000
    assert parameters["data_dir"].default is None
    assert all(f"{name}: " in dvae.train.__doc__ for name in parameters)


_NO_PATHS = {
    "train": (("--dataset=digits", "--log_dir={}"), lambda p: dvae.train("digits", log_dir=p)),
    "train again": (("--dataset=digits", "--log_dir={}", "--ais_base=fitted"), None),
    "evaluate": (("--mode=evaluate", "--run={}"), dvae.load),
    "generate": (("--mode=generate", "--run={}", "--out_dir={}"), None),
    "log_z": (("--mode=log_z", "--run={}"), None),
    "export": (("--mode=export", "--run={}"), dvae.export),
    "time": (("--mode=time", "--dataset=omniglot", "--data_dir={}"), None),
    "data": (
        ("--dataset=binarized_mnist", "--data_dir={}"),
        lambda path: dvae.train("omniglot", data_dir=path),
    ),
    "file": (("--dataset={}.npz",), None),
}


@pytest.mark.parametrize("case", _NO_PATHS)
def test_paths_that_cannot_be_are_one_line(fails, tmp_path, monkeypatch, case):
    """A name too long, a file in the place of a directory, a directory closed to this user."""
    (tmp_path / "file").write_text("in the way")
    closed = f"{tmp_path}/closed/"
    for name in ("stat", "lstat", "mkdir", "open", "listdir", "scandir"):
        monkeypatch.setattr(os, name, functools.partial(_closed, getattr(os, name), closed))
    monkeypatch.setattr("data.download.RETRIES", 0)
    arguments, call = _NO_PATHS[case]
    for path in ("n" * 300, tmp_path / "file" / "below", tmp_path / "closed" / "below" / "run"):
        said = fails(*(argument.format(path) for argument in arguments))
        assert str(path)[:40] in said
        if call:
            with refused(str(path)[:40], ValueError):
                call(path)


def _closed(function, folder, path=".", *arguments, **options):
    """What a user hears who is not root of a directory that is another's."""
    if isinstance(path, str | Path) and str(path).startswith(folder):
        raise PermissionError(13, "Permission denied", str(path))
    return function(path, *arguments, **options)


# A valid value of each flag, and the modes that heed it.
_TRAIN = "train time"
_ANY = "train time evaluate generate log_z export"
_HEEDED = {
    "--dataset=digits": f"{_TRAIN} evaluate",
    "--data_dir=elsewhere": f"{_TRAIN} evaluate",
    "--log_dir=elsewhere": f"{_TRAIN} evaluate generate log_z",
    MODEL: "evaluate generate log_z export",
    "--out_dir=elsewhere": "evaluate generate log_z export",
    "--step=3": "evaluate generate log_z",
    "--seed=2": f"{_TRAIN} evaluate generate log_z",
    "--num_images=3": "generate",
    **dict.fromkeys(("--eval_iw_samples=7", "--eval_batchsize=7"), f"{_TRAIN} evaluate"),
    **dict.fromkeys(
        ("--ais_chains=7", "--ais_temperatures=7", "--ais_base=fitted"), f"{_TRAIN} evaluate log_z"
    ),
    "--compile_cache=": _ANY,
    "--gpu_kernel=auto": "train time evaluate generate log_z",
}
_HEEDED |= dict.fromkeys(
    "--struct=1-layer-lin --baseline=vimco --k=7 --sampler=pcd --noqupa --beta=3 --base_lr=0.1 "
    "--num_train_iter=9 --train_batchsize=9 --input_size=64 --eval_every=9 --summary_every=9 "
    "--num_chains=9 --num_sweeps=9 --resample_threshold=0.5 --log_z_population=none "
    "--log_z_chains=9 --fresh --checkpoint_minutes=1 --max_unsaved_minutes=1 "
    "--keep_steps=5 --prior=partite:4 --num_temperatures=9 --num_latents=8 --num_groups=2 "
    "--num_hidden_layers=1 --hidden_units=9".split(),
    _TRAIN,
)
_HEEDED["--start_from=elsewhere"] = "train"


def test_each_mode_heeds_a_flag_or_says_that_it_does_not_know_it(program, monkeypatch):
    """In one line, before anything is done; every flag of every mode."""
    names = {flag: flag[2:].removeprefix("no").partition("=")[0] for flag in _HEEDED}
    ours = {flag.name for flag in flags.FLAGS.flags_by_module_dict()["run"]}
    assert {*names.values(), "mode"} == ours | {"log_dir"}  # which is absl's
    done = []
    for mode in _ANY.split():
        monkeypatch.setattr(commands, mode, lambda *_, mode=mode, **__: done.append(mode) or 0)
    monkeypatch.setattr(commands, "TrainedModel", lambda *_, **__: None)
    monkeypatch.setattr(data, "load", lambda *_: None)
    for mode in _ANY.split():
        for flag, heeded in _HEEDED.items():
            more = [MODEL] if mode not in ("train", "time") and flag != MODEL else []
            more += ["--k=2"] if "vimco" in flag and mode in heeded else []
            code, _, err = program(f"--mode={mode}", *more, flag)
            if mode in heeded.split():
                assert (code, done) == (0, [mode]), (mode, flag, err)
            else:
                assert (code, done) == (2, []), (mode, flag)
                assert err.startswith(f"error: --mode={mode} does not know --{names[flag]}, ")
                assert len(err.splitlines()) == 1
            done.clear()


def test_what_is_given_reaches_the_mode(program, monkeypatch):
    """Settings that a finished run is measured with, or drawn from, and nothing else."""
    seen = []
    monkeypatch.setattr(commands, "TrainedModel", lambda _, **given: seen.append(given))
    for mode in ("evaluate", "generate"):
        monkeypatch.setattr(commands, mode, lambda *_, **given: seen.append(given) or 0)
    assert program("--mode=generate", MODEL, "--seed=2", "--num_images=5")[0] == 0
    assert program("--mode=evaluate", MODEL, "--ais_chains=7", "--dataset=digits")[0] == 0
    places = {"data_dir": None, "step": None, "dataset": None}
    assert seen[:2] == [places | {"seed": 2}, {"num_images": 5}]
    assert seen[2:] == [places | {"dataset": "digits", "ais_chains": 7}, {}]


def test_a_run_without_a_mode_is_not_trained(fails, monkeypatch):
    monkeypatch.setattr(commands, "train", lambda *_, **__: pytest.fail("trains"))
    assert "--mode=train does not know --run" in fails(MODEL)
    for mode in ("evaluate", "generate", "log_z", "export"):
        assert "there is no run at nowhere" in fails(f"--mode={mode}", "--run=nowhere")


def test_paths_of_flags_may_begin_with_a_tilde(program, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = {}
    monkeypatch.setattr(commands, "train", lambda _, __, **given: seen.update(given) or 0)
    monkeypatch.setattr(data, "load", lambda _, place, __: seen.update(data_dir=place))
    assert program("--dataset=~/own.npz", "--data_dir=~/data", "--log_dir=~/logs")[0] == 0
    assert seen["data_dir"] == f"{tmp_path}/data"
    assert str(seen["run_path"]).startswith(f"{tmp_path}/logs/own.npz/")
    shutil.copytree(ROOT / MODEL.removeprefix("--run="), tmp_path / "model")
    monkeypatch.setattr(commands, "TrainedModel", lambda path, **_: path)
    monkeypatch.setattr(commands, "generate", lambda *places, **_: seen.update(places=places) or 0)
    assert program("--mode=generate", "--run=~/model", "--out_dir=~/out")[0] == 0
    assert seen["places"] == (tmp_path / "model", tmp_path / "out")
