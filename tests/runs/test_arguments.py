"""The arguments of `dvae.train` and `dvae.load`: all are listed, and what is wrong is one line."""

import inspect
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dvae

ROOT = Path(__file__).parents[2]


def _digits(**changed):
    return lambda: dvae.train("digits", **({"num_train_iter": 40} | changed))


_WRONG = {
    "struct": (_digits(struct="9-layer"), "struct=9-layer is unknown; choose one of: 1-layer-lin"),
    "struct type": (_digits(struct=3), "struct is 3, not of type str"),
    "baseline": (_digits(baseline="dvae"), "baseline=dvae is unknown"),
    "k": (_digits(k=0), "k=0 must be at least 1"),
    "k type": (_digits(k="5"), "k is '5', not of type int"),
    "k fraction": (_digits(k=1.5), "k is 1.5, not of type int"),
    "k of NumPy": (_digits(k=np.int64(-1)), "k=-1 must be at least 1"),
    "beta": (_digits(beta=-1.0), "beta=-1 must be positive"),
    "beta type": (_digits(beta="high"), "beta is 'high'"),
    "sampler": (_digits(sampler="gibbs"), "sampler=gibbs is unknown"),
    "input_size": (_digits(input_size=63), "use input_size=64"),
    "train_batchsize": (_digits(train_batchsize=5000), "train_batchsize=5000 exceeds"),
    "beta range": (_digits(beta=1e300), "beta=1e+300 must be positive and at most 3.4e+38"),
    "beta infinite": (_digits(beta=math.inf), "beta=inf must be positive and at most"),
    "beta of 401 digits": (_digits(beta=10**400), "beta=inf must be positive and at most"),
    "base_lr": (_digits(base_lr=math.nan), "base_lr=nan must be positive"),
    "base_lr of no float32": (_digits(base_lr=1e-60), "base_lr=1e-60 must be positive"),
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
    "log_dir type": (_digits(log_dir=3), "log_dir is 3, not of type str or path"),
    "dataset": (lambda: dvae.train("cifar"), "dataset=cifar is unknown"),
    "data missing": (lambda: dvae.train("nowhere/own.npz"), "nowhere/own.npz"),
    "log_dir": (_digits(log_dir="/proc/x--y"), "cannot write to /proc/x--y"),
    "no such run": (lambda: dvae.load("nowhere"), "there is no run at nowhere"),
    "no path": (lambda: dvae.load(3), "path is 3, not a path"),
    "step": (lambda: dvae.load("nowhere", step=1.0), "step is 1.0, not of type int"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_arguments(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = _WRONG[case]
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)
    assert " --" not in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("logs/**/config.json"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("num_train_iters", "did you mean num_train_iter?"),
        ("batch_size", "train_batchsize?"),
        ("sharpness", "lists the settings"),
        ("mode", "lists the settings"),
    ],
)
def test_unknown_arguments(name, hint):
    with pytest.raises(TypeError) as error:
        dvae.train("digits", **{name: 1})
    said = str(error.value)
    assert f"no setting {name}: " in said and hint in said and len(said) < 100


def test_every_setting_is_in_signature_and_help():
    """With the defaults of run.py, but for the directory of the data."""
    parameters = inspect.signature(dvae.train).parameters
    assert {"dataset", "k", "num_train_iter", "beta", "keep_steps", "ais_base"} <= set(parameters)
    assert parameters["eval_iw_samples"].default == 4000
    assert parameters["data_dir"].default == "datasets"
    assert all(f"{name}: " in dvae.train.__doc__ for name in parameters)


def test_import_is_quick():
    """The interface is there, and nothing slow is loaded for it."""
    script = "import sys, dvae; print(*sorted(set(sys.modules) & {'tensorflow', 'numpy', 'keras'}))"
    done = subprocess.run(
        [sys.executable, "-c", script + "; print('train' in dir(dvae))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["", "True"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dvae.trian  # noqa: B018


def test_paths_that_cannot_be_are_errors_of_values(tmp_path):
    """A name too long is one even to ask for."""
    (tmp_path / "file").write_text("in the way")
    for path in ("n" * 300, tmp_path / "file" / "below"):
        calls = (
            lambda path=path: dvae.load(path),
            lambda path=path: dvae.export(path),
            lambda path=path: dvae.train("digits", log_dir=path),
            lambda path=path: dvae.train("omniglot", data_dir=path),
        )
        for call in calls:
            with pytest.raises(ValueError, match=str(path)[:40]) as raised:
                call()
            assert "\n" not in str(raised.value)
