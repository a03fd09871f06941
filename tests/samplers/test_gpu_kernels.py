"""Kernels of our own: where they are taken, and what XLA makes of them for a GPU."""

import ctypes
from types import SimpleNamespace

import pytest
import tensorflow as tf

from benchmarks import exported, gpu_compiler, gpu_programs
from samplers import hardware
from samplers.gpu_kernels import embedded

_A100 = hardware.Gpu((8, 0), 166_912)
_KERNEL = embedded.Kernel("double", "double", 4, 1, 0)
_IR = """module {
  tt.func public @double(%from: !tt.ptr<f32> {tt.divisibility = 16 : i32},
                         %to: !tt.ptr<f32> {tt.divisibility = 16 : i32}) {
    %places = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
    %0 = tt.splat %from : !tt.ptr<f32> -> tensor<32x!tt.ptr<f32>>
    %1 = tt.addptr %0, %places : tensor<32x!tt.ptr<f32>>, tensor<32xi32>
    %2 = tt.load %1 : tensor<32x!tt.ptr<f32>>
    %3 = arith.addf %2, %2 : tensor<32xf32>
    %4 = tt.splat %to : !tt.ptr<f32> -> tensor<32x!tt.ptr<f32>>
    %5 = tt.addptr %4, %places : tensor<32x!tt.ptr<f32>>, tensor<32xi32>
    tt.store %5, %3 : tensor<32x!tt.ptr<f32>>
    tt.return
  }
}
"""


def test_only_a_gpu_that_can_hold_a_kernel_takes_it():
    kernel = embedded.Kernel("some", "some", 8, 1, 166_912)
    assert not embedded.fits(kernel)
    for gpu, expected in (
        (_A100, True),
        (hardware.Gpu((9, 0), 232_448), True),
        (hardware.Gpu((8, 0), 166_911), False),
        (hardware.Gpu((7, 5), 232_448), False),
        (None, False),
    ):
        with hardware.use_kernels(gpu):
            assert not embedded.fits(kernel)
            with hardware.use("gpu"):
                assert embedded.fits(kernel) == expected
    assert not embedded.fits(kernel)


def test_a_program_for_kernels_is_no_other():
    """Traced once for each GPU, and for none."""
    traced = []

    @hardware.Program
    def program(x):
        traced.append(hardware.kernel_gpu())
        return x

    for _ in range(2):
        with hardware.use("gpu"):
            for gpu in (None, _A100):
                with hardware.use_kernels(gpu):
                    program(tf.constant(1.0))
    assert traced == [None, _A100]


class _Driver:
    """Answers as CUDA's driver does, of device 1, until it fails in one of its calls."""

    def __init__(self, failing=""):
        self._failing, self._ready = failing, False

    def cuInit(self, flags):
        self._ready = flags == 0
        return self._failing == "cuInit"

    def cuDeviceGet(self, device, place):
        assert self._ready and place == 1
        device._obj.value = 7
        return self._failing == "cuDeviceGet"

    def cuDeviceGetAttribute(self, value, attribute, device):
        assert device.value == 7
        # CUdevice_attribute of cuda.h: COMPUTE_CAPABILITY_MAJOR and _MINOR,
        # MAX_SHARED_MEMORY_PER_BLOCK_OPTIN.
        value._obj.value = {75: 8, 76: 6, 97: 101_376}[attribute]
        return self._failing == "cuDeviceGetAttribute"


def test_the_driver_says_what_a_gpu_can_hold(monkeypatch):
    seen = [SimpleNamespace(name="/physical_device:GPU:1")]
    monkeypatch.setattr(hardware.tf.config, "get_visible_devices", lambda kind: seen)
    libraries = {"libcuda.so.1": _Driver()}
    monkeypatch.setattr(ctypes, "CDLL", libraries.__getitem__)
    assert hardware.found_gpu() == hardware.Gpu((8, 6), 101_376)
    for failing in ("cuInit", "cuDeviceGet", "cuDeviceGetAttribute"):
        libraries["libcuda.so.1"] = _Driver(failing)
        assert hardware.found_gpu() is None
    seen.clear()
    assert hardware.found_gpu() is None


def test_without_a_driver_no_gpu_is_found(monkeypatch):
    seen = [SimpleNamespace(name="/physical_device:GPU:0")]
    monkeypatch.setattr(hardware.tf.config, "get_visible_devices", lambda kind: seen)

    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert hardware.found_gpu() is None


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("target", ["h100", "a100"])
def test_a_kernel_is_one_operation(target, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "_code", {"double": _IR}.__getitem__)
    spec = tf.TensorSpec([32], tf.float32)

    @hardware.Program
    def program(x):
        return embedded.call(_KERNEL, 3, [x], [spec])[0]

    hlo = exported.export(lambda: exported.Call(program, (tf.ones([32]),))).hlo
    gpu_compiler.compile_program(hlo, target, tmp_path / "made")
    assert gpu_programs.count(tmp_path / "made").in_call["operations"] == 1
    (thunks,) = (tmp_path / "made").glob("*thunk_sequence.txt")
    assert "blocks: {3, 1, 1}, threads/block: {128, 1, 1}" in thunks.read_text()
