"""Samples of an exported model with NumPy alone: no TensorFlow, nothing of this program.

    python numpy_reader.py MODEL_DIR [samples.npy]

For models whose prior is an RBM and whose decoder is of dense layers: those of the papers.
"""

import json
import sys
from pathlib import Path

import numpy as np

EPSILON = 0.01  # of batch norm
Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), elementwise."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def sample_prior(arrays: Arrays, num: int, sweeps: int = 1000, seed: int = 0) -> np.ndarray:
    """Binary latents [num, D] of p(z) = exp(a.l + b.r + l'W r) / Z: block Gibbs from the chains."""
    a, b, w = (arrays[f"prior.{name}"] for name in ("left_bias", "right_bias", "coupling"))
    rng, chains = np.random.default_rng(seed), arrays["prior.chains"]
    right = chains[np.arange(num) % len(chains), len(a) :].astype(np.float32)
    for _ in range(sweeps):
        left = np.float32(rng.random([num, len(a)]) < sigmoid(a + right @ w.T))
        right = np.float32(rng.random([num, len(b)]) < sigmoid(b + left @ w))
    return np.concatenate([left, right], axis=1)


def decode(arrays: Arrays, latents: np.ndarray) -> np.ndarray:
    """Means of the pixels [N, X] from latents [N, D] of 0 and 1."""
    part = {k.removeprefix("decoder.network."): v for k, v in arrays.items()}
    hidden, layer = latents @ part["first.0.kernel"], 0
    while f"rest.{layer}.kernel" in part:
        norm = {k: part[f"norms.{layer}.{k}"] for k in ("gamma", "beta")}
        mean, variance = (part[f"norms.{layer}.moving_{k}"] for k in ("mean", "variance"))
        scaled = (hidden - mean) / np.sqrt(variance + EPSILON)
        hidden = np.tanh(scaled * norm["gamma"] + norm["beta"]) @ part[f"rest.{layer}.kernel"]
        layer += 1
    return sigmoid(hidden + part["bias"] + arrays["decoder.offset"])


def main(model_dir: str, out: str = "samples.npy") -> None:
    """Writes 100 images [100, height, width] of values in [0, 1]."""
    arrays = dict(np.load(Path(model_dir) / "weights.npz"))
    shape = json.loads((Path(model_dir) / "data.json").read_text(encoding="utf-8"))["image_shape"]
    np.save(out, decode(arrays, sample_prior(arrays, 100)).reshape(-1, *shape))
    print(f"100 images in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
