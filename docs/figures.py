"""Draws the pictures of README.md and docs/ into docs/images/.

    python -m docs.figures [NAME ...]        of samples, likelihoods, intervals, relaxations, rbm

Everything comes from models/, benchmarks/results/, the papers' formulas, and the Python blocks of
docs/samplers.md, which `rbm` runs.
"""

import contextlib
import json
import re
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import dvae
from benchmarks import methods
from dvae.runs.pictures import grid

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LONGEST = ROOT / "models" / "binarized_mnist-1-layer-nonlin-dvaes_power-k1-1000000"
_FAMILIES = {  # of methods; the others smooth bits
    "relaxed or straight-through bits": ("gumbolt", "pwl", "concrete", "st", "reinmax"),
    "unbiased": ("loo", "vimco", "disarm", "rodeo"),
    "undirected posterior": ("dvaess_pwl", "dvaess_concrete"),
    "smoothing: DVAE, DVAE++, DVAE#": (),
}


def _save(name: str) -> None:
    plt.savefig(IMAGES / f"{name}.png", dpi=130, metadata={"Software": None})
    plt.close()


def samples() -> None:
    """Samples of the longest trained model, as they come."""
    tiles = grid(dvae.load(LONGEST).sample(60), (28, 28), 15)[..., 0]
    plt.imsave(IMAGES / "samples.png", tiles, cmap="gray")


def likelihoods() -> None:
    """The best test NLL of each method at 10,000 steps, and what longer runs reached."""
    cells = methods.best_of_each(methods.kept())
    short = min(cell.results[0].config.num_train_iter for cell in cells)
    rows = [c.setting.baseline for c in cells if c.results[0].config.num_train_iter == short]
    family = {name: i for i, names in enumerate(_FAMILIES.values()) for name in names}
    plt.figure(figsize=(8, 4.8), layout="constrained")
    for cell in cells:
        steps, name = cell.results[0].config.num_train_iter, cell.setting.baseline
        place = cell.sample.mean, rows.index(name)
        plt.plot(*place, "o" if steps == short else "*", ms=7, color=f"C{family.get(name, 3)}")
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
    record = json.loads((LONGEST / "result.json").read_text(encoding="utf-8"))
    z, nll, value = record["log_z_interval"], record["nll_interval"], record["test_nll"]
    reverse, error = z["reverse_ais"], 1.96 * z["reverse_ais_stderr"]
    sampling = 1.96 * nll["importance_sampling_stderr"]
    rows = (
        ("forward AIS", z["low"], z["forward_ais"], z["high"]),
        ("reverse AIS", reverse - error, reverse, reverse + error),
        ("Markov's bound: above", z["markov_lower_bound"], None, z["high"] + 1),
        ("importance sampling alone", value - sampling, value, value + sampling),
        ("with log Z: printed", nll["low"], value, nll["high"]),
        ("with the finite test set", nll["low_with_test_set"], value, nll["high_with_test_set"]),
    )
    _, axes = plt.subplots(2, 1, figsize=(8, 3.6), layout="constrained")
    for axis, title, part in zip(axes, ("log Z", "test NLL"), (rows[:3], rows[3:]), strict=True):
        for row, (_, low, middle, high) in enumerate(part):
            axis.plot([low, high], [row, row], color="C0", lw=4, solid_capstyle="butt")
            axis.plot([middle], [row], "ko", ms=4)
        axis.set_yticks(range(3), [name for name, *_ in part])
        axis.set(ylim=(2.5, -0.5), xlim=part[0][2] + np.array([-0.5, 0.5]), xlabel=f"{title}, nats")
    _save("intervals")


def relaxations() -> None:
    """How relaxed bits lie between 0 and 1, for a bit that is 1 with probability 0.7."""
    q, rho = 0.7, (np.arange(200_000) + 0.5) / 200_000
    on = np.random.default_rng(0).random(len(rho)) < q
    exponential = -np.log1p(np.expm1(-12) * rho) / 12
    drawn = {
        "exponential, β = 12": np.where(on, 1 - exponential, exponential),
        "power, β = 40": np.where(on, 1 - rho**40, rho**40),
        "pwl, β = 4": np.clip(0.5 + (rho - (1 - q)) / (q * (1 - q) + 0.01), 0, 1),
        "concrete, β = 10": 0.5 + 0.5 * np.tanh(5 * np.log(rho / (1 - rho) * q / (1 - q))),
    }
    _, axes = plt.subplots(1, 4, figsize=(9, 2.4), sharey=True, layout="constrained")
    for axis, (name, value) in zip(axes, drawn.items(), strict=True):
        axis.hist(value, np.linspace(0, 1, 41), weights=np.full(len(rho), 1 / len(rho)))
        axis.set(title=name, xlabel="relaxed bit ζ")
    axes[0].set_ylabel("probability of a bin")
    _save("relaxations")


def rbm() -> None:
    """What the blocks of docs/samplers.md draw."""
    text, names = (ROOT / "docs" / "samplers.md").read_text(encoding="utf-8"), {}
    with contextlib.chdir(IMAGES):
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            exec(block, names)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("samples", "likelihoods", "intervals", "relaxations", "rbm"):
        globals()[name]()
