"""Writes the files of the kernels anew; needs Triton, but no GPU.

python -m samplers.gpu_kernels.write [FOLDER]
"""

import sys
from pathlib import Path

import triton
import triton.language as tl
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.compiler import ASTSource

from samplers.gpu_kernels import triton_mean_field, triton_sweeps

_F, _I, _H = "*fp32", "*i32", "*bf16"
_SHARED = (_F, _F, _F, _F, _F, _F, _I, _I, _F, _F)  # biases to both results
_MEAN_FIELD = (_F, _F, _F, _I, _F, _F, _F)

# Of each file: the function, types of its pointers, and values of its constants.
KERNELS = {
    "sweeps_resident_128": (triton_sweeps.resident, (_F, *_SHARED), (128, 16, tl.bfloat16)),
    "sweeps_streamed_128": (triton_sweeps.streamed, (_H, *_SHARED, _H), (128, 16, tl.bfloat16)),
    "sweeps_streamed_256": (triton_sweeps.streamed, (_H, *_SHARED, _H), (256, 32, tl.bfloat16)),
    "mean_field_128": (triton_mean_field.mean_field, _MEAN_FIELD, (128, 4, 128)),
    "mean_field_256": (triton_mean_field.mean_field, _MEAN_FIELD, (256, 4, 16)),
}


def written(function: triton.JITFunction, pointers: tuple[str, ...], constants: tuple) -> str:
    """A kernel whose arguments are pointers, then constants, in Triton's language between both."""
    number = len(pointers)
    kinds = [*pointers, *["constexpr"] * len(constants)]
    signature = dict(zip(function.arg_names, kinds, strict=True))
    values = {(number + place,): value for place, value in enumerate(constants)}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(number)}
    target = GPUTarget("cuda", 80, 32)
    backend = CUDABackend(target)
    options = backend.parse_options({})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    helpers = backend.get_codegen_implementation(options), backend.get_module_map(), context
    module = ASTSource(function, signature, values, aligned).make_ir(target, options, *helpers)
    return CUDABackend.make_ttir(module, {}, options, 80).str_nodebug()


def main(folder: Path) -> None:
    """Writes all files."""
    for name, kernel in KERNELS.items():
        (folder / f"{name}.ttir").write_text(written(*kernel), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
