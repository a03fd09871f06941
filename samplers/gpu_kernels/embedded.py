"""Kernels in Triton's intermediate language (IR) as operations of a TensorFlow program.

XLA, which compiles the program for a GPU, holds Triton's compiler: nothing but the file is needed
where it runs.
"""

import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from samplers import hardware

_LEAST_CAPABILITY = (8, 0)  # of XLA's Triton
_TYPES = {tf.float32: "f32", tf.bfloat16: "bf16", tf.int32: "i32"}


class Kernel(NamedTuple):
    """A file of IR, NAME.ttir, whose one function takes pointers to operands, then to results.

    function: its name. warps: of 32 threads, of each of its programs. stages: of loads that run
    ahead in its loops. shared_memory: bytes that each program takes of a GPU.
    """

    name: str
    function: str
    warps: int
    stages: int
    shared_memory: int


def fits(kernel: Kernel) -> bool:
    """Whether programs take kernels (`hardware.use_kernels`) and their GPU can hold this one."""
    gpu = hardware.kernel_gpu()
    if gpu is None or gpu.compute_capability < _LEAST_CAPABILITY:
        return False
    return gpu.shared_memory >= kernel.shared_memory


@functools.cache
def _code(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.ttir").read_text(encoding="utf-8")


def _type(spec: tf.Tensor | tf.TensorSpec) -> str:
    return f"tensor<{''.join(f'{extent}x' for extent in spec.shape)}{_TYPES[spec.dtype]}>"


def call(
    kernel: Kernel,
    programs: int,
    operands: Sequence[tf.Tensor],
    results: Sequence[tf.TensorSpec],
) -> list[tf.Tensor]:
    """Runs a kernel, in programs that XLA compiles for a GPU.

    Args:
      kernel: one that `fits`.
      programs: how many of it, side by side.
      operands: float32, bfloat16 or int32, of static shapes.
      results: shapes and types of what it writes, one at least.

    Returns:
      The results. No gradient flows.
    """
    given, gives = [[_type(spec) for spec in specs] for specs in (operands, results)]
    sizes = {"num_warps": kernel.warps, "num_stages": kernel.stages}
    sizes |= {"grid_x": programs, "grid_y": 1, "grid_z": 1}
    code = json.dumps(_code(kernel.name))
    config = [f'name = "{kernel.function}"', f"ir = {code}", "debug = false"]
    config += [f"{key} = {size} : i32" for key, size in sizes.items()]
    parameters = ", ".join(f"%a{place}: {kind}" for place, kind in enumerate(given))
    names = ", ".join(f"%a{place}" for place in range(len(given)))
    module = f"""module @call {{
  func.func public @main({parameters}) -> ({", ".join(gives)}) {{
    %r:{len(gives)} = stablehlo.custom_call @__gpu$xla.gpu.triton({names}) {{
      api_version = 4 : i32, backend_config = {{{", ".join(config)}}}
    }} : ({", ".join(given)}) -> ({", ".join(gives)})
    return {", ".join(f"%r#{place}" for place in range(len(gives)))} : {", ".join(gives)}
  }}
}}"""
    return gen_xla_ops.xla_call_module(
        list(operands),
        version=10,
        module=module,
        Sout=[result.shape for result in results],
        Tout=[result.dtype for result in results],
        platforms=["CUDA"],
        disabled_checks=["platform"],
    )
