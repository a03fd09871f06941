"""Compiled programs: where they are kept, which errors are the cache's, and their precision."""

import os
import pwd
import re

import pytest
import tensorflow as tf

from configs.errors import UserError
from dvae.runs import compile_cache, isolation
from dvae.runs.compile_cache import CompileCacheSuspected, compile_cache_guard
from samplers import hardware

H100, T4 = "NVIDIA H100 80GB HBM3, 9.0", "Tesla T4, 7.5"
# What TensorFlow 2.21 raised for an entry cut short, of random bytes, emptied, and a full disk; and
# errors that are others'.
_CACHE, _TF = CompileCacheSuspected, tf.errors
_ERRORS = {
    "Read less bytes than requested": (_TF.OutOfRangeError, _CACHE),
    "Can't parse /c/xla_compile_cache__1.pb as binary proto": (_TF.DataLossError, _CACHE),
    "Serialized cache key does not match.": (_TF.InvalidArgumentError, _CACHE),
    "/c/xla_compile_cache__1.pb.tmp; No space left on device": (_TF.ResourceExhaustedError, _CACHE),
    "ptxas exited with code 255": (_TF.InternalError, _TF.InternalError),
    "OOM when allocating": (_TF.ResourceExhaustedError, UserError),
}


@pytest.mark.parametrize("message", _ERRORS)
def test_errors_of_the_cache(message):
    kind, expected = _ERRORS[message]
    with pytest.raises(expected, match=message[:19]) as caught, compile_cache_guard():
        raise kind(None, None, f"{message}\nmore")
    if expected is UserError:  # one line that helps
        assert re.fullmatch("memory ran out .OOM .*train_batchsize.* less", str(caught.value))
    with pytest.raises(ZeroDivisionError), compile_cache_guard():  # none of TensorFlow's
        raise ZeroDivisionError


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """The cache's place on a machine whose driver shows these GPUs, or runs a script."""
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")

    def place(*gpus, visible=None, script=None):
        script = script or "\n".join(f"echo '{gpu}'" for gpu in gpus) or "exit 9"
        driver.write_text(f"#!/bin/sh\n{script}\n")
        driver.chmod(0o755)
        monkeypatch.setenv(compile_cache._FLAGS, "")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        compile_cache.enable_compile_cache(tmp_path / "cache")
        return os.environ[compile_cache._FLAGS].rsplit("/", 1)[1]

    return place


def test_programs_for_another_gpu_lie_elsewhere(directory):
    """By name and by compute capability; how many there are of a kind does not matter."""
    places = [directory(), directory(H100), directory(T4), directory("Tesla T4, 7.6")]
    assert len(set(places)) == 4
    assert directory(H100, H100) == directory(H100, visible="1") == directory(H100)
    # Of several kinds the visible one counts.
    first, second = directory(H100, T4, visible="0"), directory(H100, T4, visible="1")
    assert first != second
    assert directory(H100, T4, visible="0") == first
    # A driver that says no text, or that the files of the driver cannot be read.
    for script in (r"printf '\377\376\n'", "exit 9", "echo '[N/A], [N/A]'"):
        assert directory(script=script) != directory(H100)


def test_flags_of_others_stay(tmp_path, monkeypatch, caplog):
    """TensorFlow takes a value without dashes for the name of a file: nothing fits behind it."""
    monkeypatch.setenv(compile_cache._FLAGS, "/etc/some.flags")
    compile_cache.enable_compile_cache(tmp_path / "cache")
    assert os.environ[compile_cache._FLAGS] == "/etc/some.flags"
    assert "compiled programs are not kept" in caplog.text
    monkeypatch.setenv(compile_cache._FLAGS, "--tf_xla_clustering_debug")
    compile_cache.enable_compile_cache(tmp_path / "a cache")
    monkeypatch.setattr(os, "execv", lambda *_: None)
    compile_cache.start_again_without_compile_cache()
    assert os.environ[compile_cache._FLAGS] == "--tf_xla_clustering_debug"


def test_a_user_without_a_home(tmp_path, monkeypatch, caplog):
    """A service or container: no HOME, and no entry in the password database."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}[0])
    monkeypatch.setenv(compile_cache._FLAGS, "")
    compile_cache.enable_compile_cache(compile_cache.compile_cache_directory())
    assert os.environ[compile_cache._FLAGS] == ""
    assert "compiled programs are not kept" in caplog.text and "--compile_cache" in caplog.text
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compile_cache.compile_cache_directory() == tmp_path / "dvae-xla"


def test_products_are_exact(monkeypatch):
    """TF32 is off wherever a program of ours is compiled, even if something switched it on."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    monkeypatch.setattr(hardware.tf, "function", lambda function, **_: function)
    before = enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        assert hardware.Program(enabled)() is False
        assert enabled()
        with isolation.isolated():
            assert not enabled()
        assert enabled()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
