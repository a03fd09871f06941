"""Mean field as one kernel: its numbers in Triton's interpreter, and what XLA makes of it."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import exported, gpu_compiler
from dvae.relaxed_priors import mean_field_bound
from samplers import counter_random, hardware
from samplers.gpu_kernels import embedded, mean_field

GPUS = {name: gpu_compiler.gpu_of(name) for name in ("h100", "a100")}


def problem(num_left, num_right, num_rows):
    """Couplings and fields that leave some units undecided and saturate others, and a base."""
    keys = counter_random.split(counter_random.key(3), 4)
    coupling = counter_random.normal(keys[0], [num_left, num_right]) / np.sqrt(num_left)
    left = counter_random.normal(keys[1], [num_rows, num_left])
    right = 30.0 * counter_random.normal(keys[2], [num_rows, num_right])
    return coupling, left, right, counter_random.normal(keys[3], [num_rows])


def bound_and_gradients(arguments):
    weights = tf.linspace(0.5, 2.0, arguments[1].shape[0])
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        bound = mean_field_bound(*arguments)
        total = tf.reduce_sum(weights * bound)
    return bound, *tape.gradient(total, arguments)


@pytest.mark.parametrize(
    "sizes, name",
    [
        ((9, 7, 5), "mean_field_128"),
        ((128, 3, 8), "mean_field_128"),
        ((3, 128, 1), "mean_field_128"),
        ((130, 40, 5), "mean_field_256"),
        ((200, 200, 3), "mean_field_256"),
        ((256, 3, 4), "mean_field_256"),
        ((1, 256, 1), "mean_field_256"),
    ],
)
def test_bound_and_gradients_are_those_without_a_kernel(sizes, name, monkeypatch):
    """To rounding: sums are taken in another order."""
    from tests.helpers import interpreted_kernels

    called = []

    def call(kernel, *arguments):
        called.append(kernel.name)
        return interpreted_kernels.call(kernel, *arguments)

    monkeypatch.setattr(embedded, "call", call)
    arguments = problem(*sizes)
    expected = bound_and_gradients(arguments)
    assert not called
    with hardware.use("gpu"), hardware.use_kernels(GPUS["a100"]):
        found = bound_and_gradients(arguments)
    assert called == [name]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_halves_too_large_are_fitted_without_it(monkeypatch):
    def refused(*_):
        raise AssertionError("a kernel was called")

    monkeypatch.setattr(embedded, "call", refused)
    for sizes in ((257, 2, 3), (2, 257, 3)):
        arguments = problem(*sizes)
        expected = bound_and_gradients(arguments)
        with hardware.use("gpu"), hardware.use_kernels(GPUS["h100"]):
            found = bound_and_gradients(arguments)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_gpu_takes_the_first_form_that_it_can_hold():
    """The one for small halves needs more, as it holds the matrix."""
    small, large = mean_field._FORMS.values()
    for memory, units, kernel in (
        (small.shared_memory, 128, small),
        (small.shared_memory, 129, large),
        (small.shared_memory - 1, 128, large),
        (large.shared_memory - 1, 129, None),
    ):
        with hardware.use("gpu"), hardware.use_kernels(hardware.Gpu((8, 0), memory)):
            assert mean_field._form(units) is kernel


@pytest.fixture(scope="module", params=mean_field._FORMS)
def form(compiler, request):
    """A kernel, and the HLO of it on a batch of 100."""
    units = request.param

    @hardware.Program
    def program(*arguments):
        return mean_field.mean_field(*arguments, 5)

    arguments = tf.zeros([units, units]), tf.zeros([100, units]), tf.zeros([100, units])
    with hardware.use_kernels(GPUS["h100"]):
        hlo = exported.export(lambda: exported.Call(program, arguments)).hlo
    return mean_field._FORMS[units], hlo


@pytest.mark.slow
@pytest.mark.parametrize("target", GPUS)
def test_it_compiles_and_shared_memory_is_what_xla_asks_for(target, form, monkeypatch, tmp_path):
    """A GPU with one byte less is refused."""
    kernel, hlo = form
    need, had = kernel.shared_memory, f"optin: {GPUS[target].shared_memory}"
    text = gpu_compiler.TARGETS[target].read_text()
    assert had in text
    for memory in (need, need - 1):
        (tmp_path / "gpu.txtpb").write_text(text.replace(had, f"optin: {memory}"))
        monkeypatch.setitem(gpu_compiler.TARGETS, "gpu", tmp_path / "gpu.txtpb")
        if memory < need:
            with pytest.raises(RuntimeError, match=f"requested {need}, available: {memory}"):
                gpu_compiler.compile_program(hlo, "gpu", tmp_path / "made")
        else:
            gpu_compiler.compile_program(hlo, "gpu", tmp_path / "made")
            (thunks,) = (tmp_path / "made").glob("*thunk_sequence.txt")
            (thunk,) = thunks.read_text().strip().splitlines()
            assert "blocks: {25, 1, 1}, threads/block: {256, 1, 1}" in thunk
