"""The process of a run: what its cache of compiled programs is kept apart by, and its precision."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf

from dvae.runs import compile_cache, isolation, process
from samplers import hardware
from samplers.rbm import RBM, RBMParameters

ROOT = Path(__file__).parents[2]
H100, T4 = "NVIDIA H100 80GB HBM3, 9.0", "Tesla T4, 7.5"


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """The cache's place on a machine whose driver shows these GPUs."""

    def place(*gpus, visible=None):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        driver = folder / "nvidia-smi"
        lines = "".join(f"echo '{gpu}'\n" for gpu in gpus)
        driver.write_text(f"#!/bin/sh\n{lines}" if gpus else "#!/bin/sh\nexit 9\n")
        driver.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
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


def test_of_several_kinds_the_visible_one_counts(directory):
    first, second = directory(H100, T4, visible="0"), directory(H100, T4, visible="1")
    assert first != second
    assert directory(H100, T4, visible="0") == first


def test_a_driver_that_says_no_text(directory, tmp_path, monkeypatch):
    """Bytes that are no UTF-8, and files of the driver that cannot be read: only another place."""
    sound = directory(H100)
    driver = tmp_path / "bin" / "nvidia-smi"
    for script in (r"printf '\377\376\n'", "exit 9", "echo '[N/A], [N/A]'"):
        driver.write_text(f"#!/bin/sh\n{script}\n")
        monkeypatch.setenv(compile_cache._FLAGS, "")
        compile_cache.enable_compile_cache(tmp_path / "cache")
        assert os.environ[compile_cache._FLAGS].rsplit("/", 1)[1] != sound


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
    place = compile_cache.compile_cache_directory()
    compile_cache.enable_compile_cache(place)
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


def test_programs_ask_for_exact_products():
    """Every product of the sweeps, as lowered for a GPU."""
    model = RBM(4, 4)
    rbm = RBMParameters(tf.zeros([4]), tf.zeros([4]), tf.zeros([4, 4]))
    chains = model.state(tf.zeros([8, 8]))
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    program = tf.function(
        lambda *arguments: model.sweeps(*arguments, 2), jit_compile=True, autograph=False
    )
    arguments = rbm, chains, tf.constant([1, 2])
    with hardware.use("gpu"), hardware.exact_products():
        text = program.experimental_get_compiler_ir(*arguments)(stage="hlo", platform_name="GPU")
    products = [line for line in text.splitlines() if " dot(" in line]
    assert len(products) == 4
    assert all("operand_precision={highest,highest}" in line for line in products)


def _wait_as_compiled_calls_do(seconds):
    """In C, where Python's signal handlers do not run."""
    libc, mutex = ctypes.CDLL(None), (ctypes.c_byte * 256)()
    end = (ctypes.c_long * 2)(int(time.time()) + seconds, 0)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_timedlock(mutex, end)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_spoken_of_before_the_call_under_way_ends(number, capsys):
    """A request to stop; one for a checkpoint is not. What was there before is there again."""
    handlers = [signal.getsignal(n) for n in signal.valid_signals()]
    main = threading.main_thread().ident
    with process.SignalWatch() as watch:
        timer = threading.Timer(0.2, signal.pthread_kill, (main, number))
        timer.start()
        _wait_as_compiled_calls_do(2)
        print("the call has ended")
    timer.join()
    stops = number != signal.SIGUSR1
    said = [f"{number.name}: stopping as soon as the work under way allows"] if stops else []
    assert capsys.readouterr().out.splitlines() == [*said, "the call has ended"]
    assert [signal.getsignal(n) for n in signal.valid_signals()] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert watch.save_requested() != stops


_IMPORTS = """
import sys
from dvae.runs import process
process.import_libraries()
import dvae.runs.commands
print(*sorted({name.split(".")[0] for name in sys.modules}))
import sklearn, scipy.stats
"""
_UNUSED = {"IPython", "PIL", "h5py", "jax", "matplotlib", "pandas", "scipy", "sklearn"}
_UNUSED |= {"pooch", "ray", "tensorflow_probability", "tf_keras", "torch"}


def test_a_run_imports_nothing_that_it_does_not_use():
    """And what was kept from Keras can be imported afterwards."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", _IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {"tensorflow", "keras", "tensorboard"} <= imported and not imported & _UNUSED
