"""Sweeps as one kernel: its bits in Triton's interpreter, and what XLA makes of it for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import exported, gpu_compiler, gpu_programs
from samplers import counter_random, gibbs, hardware
from samplers.boltzmann import BoltzmannMachine
from samplers.gpu_kernels import embedded
from samplers.gpu_kernels import sweeps as sweeps_kernel
from samplers.rbm import RBM, MarginalPath, RBMParameters

GPUS = {name: gpu_compiler.gpu_of(name) for name in ("h100", "a100")}
# Of each kernel: a GPU that takes it, sizes that pad both classes, and chains of several programs,
# the last of each part of them not full.
FORMS = {
    "sweeps_resident_128": ("h100", RBM(9, 7), 48),
    "sweeps_streamed_128": ("a100", RBM(7, 33), 48),
    "sweeps_streamed_256": ("a100", RBM(130, 40), 80),
}
FOLDER = Path(embedded.__file__).parent


def problem(model, num_chains, dtype=tf.float32):
    """Parameters at which units feel each other, chains and a key."""
    keys = counter_random.split(counter_random.key(3), 4)
    shapes = [model.num_left], [model.num_right], [model.num_left, model.num_right]
    numbers = [counter_random.normal(*pair) for pair in zip(keys, shapes, strict=False)]
    params = RBMParameters(*(tf.cast(number, dtype) for number in numbers))
    return params, model.start(num_chains, keys[3], dtype), counter_random.key(11)


@pytest.fixture
def called(monkeypatch):
    """Names of the kernels that were called; they run in Triton's interpreter."""
    from tests.helpers import interpreted_kernels

    names = []

    def call(kernel, *arguments):
        names.append(kernel.name)
        return interpreted_kernels.call(kernel, *arguments)

    monkeypatch.setattr(embedded, "call", call)
    return names


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def temperatures(num_chains):
    return tf.linspace(0.0, 1.0, num_chains)[:, None]


@pytest.mark.parametrize(
    "name, kind",
    [
        *((name, kind) for name in FORMS for kind in ("plain", "path per chain")),
        ("sweeps_resident_128", "path"),
    ],
)
def test_bits_are_those_without_a_kernel(name, kind, called):
    """Two sweeps; at one temperature, and towards a base, at one and at one for each chain."""
    gpu, model, num_chains = FORMS[name]
    params, start, key = problem(model, num_chains)
    base = tf.linspace(-1.0, 1.0, model.num_units)
    how = {"plain": (1.0, None), "path": (0.4, base)}.get(kind, (temperatures(num_chains), base))
    expected = model.sweeps(params, start, key, 2, *how)
    with hardware.use("gpu"), hardware.use_kernels(GPUS[gpu]):
        found = model.sweeps(params, start, key, 2, *how)
    assert called == [name]
    assert_same(found, expected)


@pytest.mark.parametrize("per_chain", [False, True])
@pytest.mark.parametrize("name", ["sweeps_resident_128", "sweeps_streamed_128"])
def test_bits_on_the_path_of_annealing_and_tempering(name, per_chain, called):
    """Where the right half, summed out, is drawn first, and all chains are one part."""
    gpu, model, num_chains = FORMS[name]
    params, start, key = problem(model, num_chains)
    path = MarginalPath(params, tf.linspace(-1.0, 1.0, model.num_units))
    t = temperatures(num_chains) if per_chain else tf.constant(0.7)
    expected = path.sweep(start.left, key, t)
    with hardware.use("gpu"), hardware.use_kernels(GPUS[gpu]):
        found = path.sweep(start.left, key, t)
    assert called == [name]
    assert_same([found], [expected])


@pytest.mark.parametrize(
    "model, num_chains, num_sweeps, dtype",
    [
        (RBM(9, 7), 20, 1, tf.float32),  # no whole quarters
        (RBM(9, 7), 5, 1, tf.float32),
        (RBM(257, 2), 8, 1, tf.float32),
        (RBM(2, 257), 8, 1, tf.float32),
        (RBM(9, 7), 8, 0, tf.float32),
        (RBM(9, 7), 8, tf.constant(1), tf.float32),
        (RBM(9, 7), 8, 1, tf.float64),
    ],
)
def test_what_no_kernel_does_is_done_without(model, num_chains, num_sweeps, dtype, called):
    params, start, key = problem(model, num_chains, dtype)
    expected = model.sweeps(params, start, key, num_sweeps)
    with hardware.use("gpu"), hardware.use_kernels(GPUS["h100"]):
        found = model.sweeps(params, start, key, num_sweeps)
    assert not called
    assert_same(found, expected)


def test_three_classes_are_swept_without(called):
    model = BoltzmannMachine(3, ((0, 1), (1, 2), (0, 2)))
    params = model.independent(tf.zeros([3]))
    blocks, start = model.blocks(params), tuple(tf.zeros([8, 1]) for _ in range(3))
    key = counter_random.key(1)
    expected = gibbs.sweeps(blocks, start, key, 1)
    with hardware.use("gpu"), hardware.use_kernels(GPUS["h100"]):
        found = gibbs.sweeps(blocks, start, key, 1)
    assert not called
    assert_same(found, expected)


def test_only_a_gpu_that_holds_it_gets_it():
    """The resident form where there is room, else one that streams, else none."""
    for memory, name in ((232_448, "sweeps_resident_128"), (51_200, "sweeps_streamed_128")):
        with hardware.use("gpu"), hardware.use_kernels(hardware.Gpu((8, 0), memory)):
            assert sweeps_kernel._form(128).kernel.name == name
    with hardware.use("gpu"), hardware.use_kernels(hardware.Gpu((8, 6), 101_376)):
        assert not sweeps_kernel.holds(129, 8, 2) and sweeps_kernel.holds(128, 8, 2)
    assert not sweeps_kernel.holds(1, 8, 2)


def test_files_are_what_triton_makes_of_their_sources(tmp_path):
    pytest.importorskip("triton", reason="Triton is for Linux")
    command = [sys.executable, "-m", "samplers.gpu_kernels.write", str(tmp_path)]
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run(command, check=True, env=environment, cwd=FOLDER.parents[1])
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.glob("*.ttir")}


def exported_sweeps(gpu, size, num_chains=1000):
    with hardware.use_kernels(gpu):
        return exported.export(lambda: gpu_programs.sweeps(size, num_chains)).hlo


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "target, size, operations", [("h100", 100, 1), ("a100", 100, 2), ("h100", 200, 2)]
)
def test_sweeps_are_one_operation_and_one_for_a_streamed_matrix(target, size, operations, tmp_path):
    gpu_compiler.compile_program(exported_sweeps(GPUS[target], size), target, tmp_path / "made")
    found = gpu_programs.count(tmp_path / "made").in_call
    assert found == {"operations": operations, "launched_singly": operations}


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", FORMS)
def test_shared_memory_is_what_xla_asks_for(name, monkeypatch, tmp_path):
    """A GPU with one byte less is refused: its description says how much a block may have."""
    target, *_ = FORMS[name]
    (form,) = (form for form in sweeps_kernel._FORMS if form.kernel.name == name)
    monkeypatch.setattr(sweeps_kernel, "_FORMS", [form])
    hlo = exported_sweeps(GPUS[target], form.padded, 80)
    need = form.kernel.shared_memory
    had = f"optin: {GPUS[target].shared_memory}"
    text = gpu_compiler.TARGETS[target].read_text()
    assert had in text
    (tmp_path / "less.txtpb").write_text(text.replace(had, f"optin: {need - 1}"))
    monkeypatch.setitem(gpu_compiler.TARGETS, "less", tmp_path / "less.txtpb")
    with pytest.raises(RuntimeError, match=f"requested {need}, available: {need - 1}"):
        gpu_compiler.compile_program(hlo, "less", tmp_path / "made")
