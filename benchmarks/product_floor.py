"""The matrix products of Gibbs sweeps by NumPy's OpenBLAS on all cores, in a process of its own.

    python -m benchmarks.product_floor SIZE CHAINS SWEEPS

Runs all products once for each line that it reads, and answers with a line. Its environment is
cleared of what tells OpenBLAS to take the machine for another one than it is.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

OPENBLAS = "matrix products alone, OpenBLAS"
_MISLEADING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def program(size: int, chains: int, sweeps: int) -> Callable[[], Any]:
    """The products of `sweeps` sweeps of an RBM of size x size, done when the call returns."""
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.product_floor", *map(str, (size, chains, sweeps))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        errors="replace",
        bufsize=1,
    )

    def call() -> None:
        child.stdin.write("\n")
        if not child.stdout.readline():
            raise RuntimeError(f"benchmarks.product_floor ended with {child.wait()}")

    return call


def main() -> None:
    """The process apart; it ends with its input."""
    size, chains, sweeps = map(int, sys.argv[1:])
    generator = np.random.default_rng(size)
    # An orthogonal matrix keeps the numbers from overflow and from underflow.
    coupling = np.linalg.qr(generator.normal(size=(size, size)))[0].astype(np.float32)
    right = generator.integers(0, 2, size=(chains, size)).astype(np.float32)
    left, transposed = np.empty_like(right), np.ascontiguousarray(coupling.T)
    for _ in sys.stdin:
        for _ in range(sweeps):
            np.matmul(right, transposed, out=left)
            np.matmul(left, coupling, out=right)
        print("done", flush=True)


if __name__ == "__main__":
    main()
