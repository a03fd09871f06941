"""TensorFlow's own compiler for GPUs, run where there is none.

The Linux wheel of TensorFlow holds XLA's whole GPU compiler. `compile.cc` calls its ahead-of-time
entry with a description of a GPU (`targets`): no GPU, driver or CUDA is needed, only C++.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

from samplers.hardware import Gpu

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "gpu_compiler"
TARGETS = {path.stem: path for path in sorted((HERE / "targets").glob("*.txtpb"))}
# What `tf.config.experimental.enable_op_determinism` makes of it, and the dumps to count in.
_FLAGS = "--xla_gpu_deterministic_ops=true --xla_dump_hlo_as_text"
_FLAGS += " --xla_gpu_experimental_aot_compiled_thunks=true"


class NoCompilerError(Exception):
    """Nothing can be compiled here; the message says in one line why."""


def gpu_of(target: str) -> Gpu:
    """What kernels of ours must know of a GPU of `TARGETS`."""
    text = TARGETS[target].read_text(encoding="utf-8")
    names = ("major", "minor", "shared_memory_per_block_optin")
    major, minor, memory = (int(re.search(rf"^ +{name}: (\d+)$", text, re.M)[1]) for name in names)
    return Gpu((major, minor), memory)


def _command(binary: Path) -> list[str]:
    wheel = Path(tf.__file__).parent
    include = wheel / "include"
    farmhash = include / "external" / "farmhash_archive" / "src"
    folders = [HERE / "stubs", farmhash, include, *sorted((include / "external").iterdir())]
    return [
        *("g++", "-std=c++17", "-O0", "-w"),
        *tf.sysconfig.get_compile_flags()[1:],  # the first is the folder of the headers
        *(f"-I{folder}" for folder in folders),
        *(str(HERE / "compile.cc"), "-o", str(binary), f"-L{wheel}", "-Wl,--no-as-needed"),
        *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{wheel}"),
    ]


def _run(command: list[str], **more: Any) -> subprocess.CompletedProcess:
    """A program's end, whatever it is, and what it said."""
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", **more
    )


def build() -> Path:
    """The compiler's program, built where it is not yet (some minutes). Raises NoCompilerError."""
    sources = b"".join(path.read_bytes() for path in sorted(HERE.rglob("*.[ch]*")))
    name = hashlib.sha256(sources + tf.__version__.encode()).hexdigest()[:12]
    binary = BUILD / f"compile-{name}"
    if binary.exists():
        return binary
    if platform.system() != "Linux" or shutil.which("g++") is None:
        raise NoCompilerError("no g++ on Linux here to build benchmarks/gpu_compiler with")
    BUILD.mkdir(parents=True, exist_ok=True)
    print("building benchmarks/gpu_compiler (some minutes, once)", flush=True)
    unfinished = binary.with_suffix(f".{os.getpid()}")
    built = _run(_command(unfinished))
    if built.returncode != 0:
        errors = [line for line in built.stderr.splitlines() if "error" in line]
        raise NoCompilerError(f"g++ failed: {(errors or ['no error named'])[0]}")
    unfinished.replace(binary)
    return binary


def compile_program(hlo: bytes, target: str, folder: Path) -> None:
    """Compiles serialized, unoptimised HLO for a GPU of `TARGETS`; what came out lies in `folder`.

    Raises NoCompilerError, or RuntimeError with the last words of XLA where it refuses the program.
    """
    binary = build()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = folder / "program.hlo.pb"
    program.write_bytes(hlo)
    flags = f"{_FLAGS} --xla_dump_to={folder}"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "XLA_FLAGS": flags}
    done = _run([str(binary), str(program), str(TARGETS[target])], env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(last)
