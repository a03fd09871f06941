"""Draws the pictures of README.md and docs/ into docs/images/.

    python -m docs.figures [NAME ...]        of samples, likelihoods, intervals, relaxations, rbm

Everything comes from models/, benchmarks/results/, the papers' formulas, and the Python blocks of
docs/samplers.md, which `rbm` runs.
"""

import json
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

import dvae
from benchmarks import methods

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LONGEST = ROOT / "models" / "binarized_mnist-1-layer-nonlin-dvaes_power-k1-1000000"
_FAMILIES = {  # of methods: the others
    "relaxed or straight-through bits": ("gumbolt", "pwl", "concrete", "st", "reinmax"),
    "unbiased": ("loo", "vimco", "disarm", "rodeo"),
    "undirected posterior": ("dvaess_pwl", "dvaess_concrete"),
    "smoothing: DVAE, DVAE++, DVAE#": (),
}


def _save(name: str) -> None:
    plt.savefig(IMAGES / f"{name}.png", dpi=130, metadata={"Software": None})
    plt.close()


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images [N, H, W] side by side, a grey line around each."""
    padded = np.pad(images, ((0, 0), (1, 0), (1, 0)), constant_values=0.5)
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(images), columns)]
    return np.pad(np.vstack(rows), ((0, 1), (0, 1)), constant_values=0.5)


def samples() -> None:
    """Samples of the longest trained model, each pixel as a square of two by two."""
    tiles = _tiles(dvae.load(LONGEST).sample(60), 15).repeat(2, axis=0).repeat(2, axis=1)
    plt.imsave(IMAGES / "samples.png", tiles, cmap="gray", vmin=0, vmax=1)


def likelihoods() -> None:
    """The best test NLL of each method at 10,000 steps, and what longer runs reached."""
    cells = methods.best_of_each(methods.kept())
    short = min(cell.results[0].config.num_train_iter for cell in cells)
    rows = [c.setting.baseline for c in cells if c.results[0].config.num_train_iter == short]
    family = dict.fromkeys(rows, 3)
    family |= {name: i for i, names in enumerate(_FAMILIES.values()) for name in names}
    plt.figure(figsize=(8, 4.8), layout="constrained")
    for cell in cells:
        steps, name = cell.results[0].config.num_train_iter, cell.setting.baseline
        place = cell.sample.mean, rows.index(name)
        plt.plot(*place, "o" if steps == short else "*", ms=7, color=f"C{family[name]}")
        if steps > short:
            plt.annotate(f"{steps:,} steps", place, (7, -4), textcoords="offset points")
    for index, name in enumerate(_FAMILIES):
        plt.plot([], [], "o", color=f"C{index}", label=name)
    plt.yticks(range(len(rows)), rows)
    plt.gca().invert_yaxis()
    plt.xlabel(f"test NLL in nats, the best structure and k; {short:,} steps where nothing is said")
    plt.grid(axis="x", alpha=0.3)
    plt.legend(loc="lower left")
    _save("likelihoods")


def intervals() -> None:
    """Every interval of the longest run, on two axes of one scale."""
    record = json.loads((LONGEST / "result.json").read_text())
    z, nll = record["log_z_interval"], record["nll_interval"]
    value, reverse = record["test_nll"], 1.96 * z["reverse_ais_stderr"]
    sampling = 1.96 * nll["importance_sampling_stderr"]
    panels = {
        "log Z of the RBM": {
            "forward AIS": (z["low"], z["forward_ais"], z["high"]),
            "reverse AIS": (
                z["reverse_ais"] - reverse,
                z["reverse_ais"],
                z["reverse_ais"] + reverse,
            ),
            "Markov's bound: above": (z["markov_lower_bound"], None, z["high"] + 1),
        },
        "test NLL": {
            "importance sampling alone": (value - sampling, value, value + sampling),
            "with log Z: printed": (nll["low"], value, nll["high"]),
            "with the finite test set": (
                nll["low_with_test_set"],
                value,
                nll["high_with_test_set"],
            ),
        },
    }
    _, axes = plt.subplots(2, 1, figsize=(8, 3.6), layout="constrained")
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for row, (low, middle, high) in enumerate(rows.values()):
            axis.plot([low, high], [row, row], color="C0", lw=4, solid_capstyle="butt")
            axis.plot([middle], [row], "ko", ms=4)
        axis.set_yticks(range(len(rows)), [*rows])
        centre = next(iter(rows.values()))[1]
        axis.set(ylim=(2.5, -0.5), xlim=(centre - 0.5, centre + 0.5), xlabel=f"{title}, nats")
    _save("intervals")


def relaxations() -> None:
    """How relaxed bits lie between 0 and 1, for a bit that is 1 with probability 0.7."""
    q, rho = 0.7, (np.arange(200_000) + 0.5) / 200_000
    on = np.random.default_rng(0).random(len(rho)) < q

    def mirrored(at_0: np.ndarray) -> np.ndarray:
        return np.where(on, 1 - at_0, at_0)

    noise = np.log(rho / (1 - rho)) + np.log(q / (1 - q))
    drawn = {
        "exponential, β = 12": mirrored(-np.log1p(np.expm1(-12) * rho) / 12),
        "power, β = 40": mirrored(rho**40),
        "pwl, β = 4": np.clip(0.5 + (rho - (1 - q)) / (q * (1 - q) + 0.01), 0, 1),
        "concrete, β = 10": 0.5 + 0.5 * np.tanh(10 * noise / 2),
    }
    _, axes = plt.subplots(1, 4, figsize=(9, 2.4), sharey=True, layout="constrained")
    for axis, (name, value) in zip(axes, drawn.items(), strict=True):
        axis.hist(value, np.linspace(0, 1, 41), weights=np.full(len(rho), 1 / len(rho)))
        axis.set(title=name, xlabel="relaxed bit ζ")
    axes[0].set_ylabel("probability of a bin")
    _save("relaxations")


def rbm() -> None:
    """What the blocks of docs/samplers.md give: chains, and estimates of log Z."""
    text = (ROOT / "docs" / "samplers.md").read_text()
    found: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, found)
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.imshow(_tiles(found["means"].reshape(-1, 8, 8), 10), cmap="gray", vmin=0, vmax=1)
    left.set(title="chains of the trained RBM", xticks=[], yticks=[])
    for row, name in enumerate(("forward", "tempered", "annealed")):
        value, error = (float(part) for part in found[name][:2])
        right.errorbar(value - float(found["log_z"]), row, xerr=1.96 * error, fmt="ko", ecolor="C0")
    right.set_yticks(range(3), ["AIS", "tempering", "population annealing"])
    right.axvline(0, color="black", lw=0.8)
    right.set(xlabel="log Z - enumerated, nats, 95 %", ylim=(2.5, -0.5))
    _save("rbm")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("samples", "likelihoods", "intervals", "relaxations", "rbm"):
        globals()[name]()
