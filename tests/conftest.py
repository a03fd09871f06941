"""Settings of the whole suite: quiet TensorFlow, and compiled programs shared by its processes."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from dvae.runs.compile_cache import enable_compile_cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# What runs in a background may be deaf to SIGINT or SIGHUP, and tests send them to children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

enable_compile_cache(Path(__file__).parents[1] / "build" / "xla-cache")


@pytest.fixture(scope="module")
def spawner():
    """Starts processes from a server that has the slow imports behind it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.conftest", "data", "dvae.runs.loop", "tests.helpers.tiny_runs"]
    )
    return context


@pytest.fixture(scope="module")
def compiler():
    """Of GPU programs; skips where there is none. TensorFlow wants a seed under determinism."""
    import tensorflow as tf

    from benchmarks import gpu_compiler

    try:
        gpu_compiler.build()
    except gpu_compiler.NoCompilerError as error:
        pytest.skip(str(error))
    tf.random.set_seed(1)
