"""Within a program of others: what they set changes no number, what dvae sets is gone afterwards,
and nothing is compiled twice."""

import contextlib
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import polymorphic_function

import dvae
from configs import paper
from configs.errors import UserError
from tests.helpers import tiny_runs

SETTINGS = tiny_runs.ARGUMENTS


@pytest.fixture(scope="module", autouse=True)
def small_structure():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(paper.STRUCTURES, "2-layer-nonlin", tiny_runs.TINY)
        yield


def _numbers(run, images):
    """What a model gives, and its weights."""
    encoded = run.encode(images)
    return [
        run.sample(3),
        encoded.latents,
        encoded.log_prob,
        run.reconstruct(images),
        run.log_likelihood(images, 20).values,
        run.log_partition().value,
        *(variable.numpy() for variable in run.model.variables),
    ]


@contextlib.contextmanager
def _float_types(name):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy("mixed_float16" if name == "float16" else name)
    try:
        yield lambda: (keras.config.floatx(), keras.config.dtype_policy().name)
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@contextlib.contextmanager
def _modes():
    """Eager functions, compiled graphs, a device, seeds, and every warning an error."""
    before = tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit()
    tf.config.run_functions_eagerly(True)
    tf.config.optimizer.set_jit("autoclustering")
    keras.utils.set_random_seed(7)
    try:
        with tf.device("/CPU:0"), np.errstate(all="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            yield lambda: (tf.config.functions_run_eagerly(), np.geterr(), warnings.filters[0])
    finally:
        tf.config.run_functions_eagerly(before[0])
        tf.config.optimizer.set_jit(before[1])


_OTHERS = {
    "float64": lambda: _float_types("float64"),
    "half precision": lambda: _float_types("float16"),
    "modes": _modes,
}


def _state():
    """What of this process belongs to whoever runs it."""
    tensorflow = tf.get_logger()
    absl = logging.getLogger("absl")
    return {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "signals": [signal.getsignal(n) for n in signal.valid_signals()],
        "wakeup": _wakeup(),
        "streams": [sys.stdout, sys.stderr, os.fstat(2).st_ino],
        "threads": {t.name for t in threading.enumerate() if not t.name.startswith("Thread-")},
        "monitors": [t for t in threading.enumerate() if "TMonitor" in type(t).__name__],
        "logging": [
            (log.level, list(log.handlers), list(log.filters), log.propagate)
            for log in (logging.getLogger(), tensorflow, absl)
        ],
        "warnings": list(warnings.filters),
        "floating-point errors": np.geterr(),
        "printing": np.get_printoptions(),
        "numpy's random numbers": np.random.get_state()[1].tolist(),
        "python's random numbers": random.getstate(),
        "floats": (keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name),
        "eager": tf.config.functions_run_eagerly(),
        "TF32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "jit": tf.config.optimizer.get_jit(),
        "device": tf.constant(1.0).device,
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
    }


def _wakeup():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, its images, its numbers, and the process's state before and after all that."""
    folder = tmp_path_factory.mktemp("isolation")
    data_path = tiny_runs.write_data(folder / "own.npz", grey=False)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    before = _state()
    run = dvae.train(data_path, log_dir=folder / "logs", **SETTINGS)
    with np.load(data_path) as arrays:
        images = arrays["test"]
    numbers = _numbers(run, images)
    return run, images, numbers, before, _state()


def test_nothing_that_dvae_sets_remains(trained):
    *_, before, after = trained
    for name, value in before.items():
        assert after[name] == value, name
    # It raises under TensorFlow's determinism, unless a seed was set.
    tf.random.Generator.from_non_deterministic_state()


@pytest.mark.parametrize(
    "case", [pytest.param("float64", marks=pytest.mark.slow), "half precision", "modes"]
)
def test_what_others_set_changes_no_number(case, trained):
    run, images, numbers, *_ = trained
    with _OTHERS[case]() as state:
        before = state()
        found = _numbers(dvae.load(run.path), images)
        assert state() == before
    for ours, theirs in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_training_among_what_others_set(trained, tmp_path):
    run, images, numbers, *_ = trained
    data_path = tiny_runs.write_data(tmp_path / "own.npz", grey=False)
    with _OTHERS["half precision"](), _OTHERS["modes"]():
        again = dvae.train(data_path, log_dir=tmp_path / "logs", **SETTINGS)
        found = _numbers(again, images)
    assert again.result["test_nll"] == run.result["test_nll"]
    for ours, theirs in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def traced(monkeypatch):
    """The functions that TensorFlow has traced since, as it counts them itself."""
    functions = []
    monkeypatch.setattr(
        type(polymorphic_function._frequent_tracing_detector_manager),
        "called_with_tracing",
        lambda self, key, function, omit: functions.append(function),
    )
    return functions


def test_any_number_is_compiled_once(trained, traced):
    """And what comes first does not depend on how many follow."""
    run, images, *_ = trained
    run = dvae.load(run.path)  # which has compiled nothing yet
    many = np.concatenate([images] * 8)

    def everything(count):
        encoded = run.encode(many[:count])
        drawn = [run.sample(count), run.sample_latents(count, seed=3), *encoded]
        return [*drawn, run.decode(encoded.latents), run.reconstruct(many[:count])]

    first = everything(len(many))
    assert traced
    traced.clear()
    for count in (1, 2, 99, 100, 101):
        for few, all_of_them in zip(everything(count), first, strict=True):
            assert len(few) == count
            np.testing.assert_array_equal(few, all_of_them[:count])
    assert not traced
    alike = run.encode(np.repeat(images[:1], 200, axis=0)).latents
    assert not np.array_equal(alike[:100], alike[100:])


def test_likelihoods_are_compiled_for_a_few_sizes(trained, traced):
    run, images, *_ = trained
    first = run.log_likelihood(images[:4], 64)
    traced.clear()
    for count, num_samples in ((4, 64), (2, 50), (3, 17), (4, 33)):
        found = run.log_likelihood(images[:count], num_samples)
        assert found.values.shape == (count,)
    assert not traced
    np.testing.assert_array_equal(run.log_likelihood(images[:3], 64).values, first.values[:3])


def test_a_keras_on_another_backend_is_one_line(trained, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"Keras runs on jax here.*KERAS_BACKEND=tensorflow"):
        dvae.load(trained[0].path)


def test_within_a_graph_is_one_line(trained):
    with (
        tf.Graph().as_default(),
        pytest.raises(UserError, match="call this outside of graphs"),
    ):
        dvae.load(trained[0].path)
