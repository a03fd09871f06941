"""Samples of an exported model with NumPy alone: Boltzmann prior on any graph, dense decoder."""

import argparse
import json
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), elementwise."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def sample_prior(arrays: Arrays, num: int, sweeps: int = 1000, seed: int = 0) -> np.ndarray:
    """Binary latents [num, D] of p(z) = exp(b.z + z'Wz / 2) / Z: block Gibbs from the chains."""
    p = {k.removeprefix("prior."): v for k, v in arrays.items() if k.startswith("prior.")}
    if "edges" not in p:  # an RBM: all pairs of the left and the right half
        p["bias"] = np.concatenate([p["left_bias"], p["right_bias"]])
        p["edges"] = np.argwhere(np.ones_like(p["coupling"])) + np.array([0, len(p["left_bias"])])
    (i, j), w, blocks = p["edges"].T, np.zeros([len(p["bias"])] * 2, np.float32), []
    w[i, j] = w[j, i] = p["coupling"].ravel()
    for unit in range(len(w)):  # into the first block that it is not coupled to
        free = [block for block in blocks if not w[unit, block].any()]
        free[0].append(unit) if free else blocks.append([unit])
    rng, z = np.random.default_rng(seed), np.resize(p["chains"], [num, len(w)]).astype(np.float32)
    for block in blocks * sweeps:
        z[:, block] = rng.random([num, len(block)]) < sigmoid(p["bias"][block] + z @ w[:, block])
    return z


def decode(arrays: Arrays, latents: np.ndarray) -> np.ndarray:
    """Means of the pixels [N, X] from latents [N, D] of 0 and 1."""
    part = {k.removeprefix("decoder.network."): v for k, v in arrays.items()}
    hidden, layer = latents @ part["first.0.kernel"], 0
    while f"rest.{layer}.kernel" in part:
        norm = "gamma", "beta", "moving_mean", "moving_variance"
        gamma, beta, mean, variance = (part[f"norms.{layer}.{k}"] for k in norm)
        hidden = np.tanh((hidden - mean) / np.sqrt(variance + 0.01) * gamma + beta)
        hidden, layer = hidden @ part[f"rest.{layer}.kernel"], layer + 1
    return sigmoid(hidden + part["bias"] + arrays["decoder.offset"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="directory of an exported model")
    parser.add_argument("out", nargs="?", default="samples.npy", help="100 images [100, H, W]")
    model, out = vars(parser.parse_args()).values()
    try:
        found = dict(np.load(model / "weights.npz"))
        config, data = (json.loads((model / f"{f}.json").read_bytes()) for f in ("config", "data"))
    except Exception as error:
        raise SystemExit(f"error: {model} is no exported model: {error}") from None
    network = config["structure"]["decoder"], config["structure"]["likelihood"]
    if network != ("dense", "bernoulli") or not found.keys() & {"prior.edges", "prior.left_bias"}:
        raise SystemExit(f"error: {model} has another kind of prior or decoder: use dvae.load")
    np.save(out, decode(found, sample_prior(found, 100)).reshape(-1, *data["image_shape"]))
    print(f"100 images in {out}")
