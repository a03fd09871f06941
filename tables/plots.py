"""One picture for each cell: learning curves of its seeds, and samples of the first."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from tables.cells import Cell
from tables.report import picture_name, picture_title
from tables.results import Result

_TRAINING = ("train/neg_elbo", "train/neg_iw_loss")
_VALIDATION = ("val/neg_ll",)


def read_curve(path: Path, names: Sequence[str]) -> tuple[list[int], list[float]]:
    """Steps and values, in nats, of the first of `names` that each line of metrics.jsonl holds."""
    steps, values = [], []
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        found = next((name for name in names if name in record), None)
        if found is not None:
            steps.append(record["step"])
            values.append(record[found])
    return steps, values


def _curves(axes: plt.Axes, results: Sequence[Result], names: Sequence[str], title: str) -> None:
    for result in results:
        steps, values = read_curve(result.directory / "metrics.jsonl", names)
        axes.plot(steps, values, marker=".", linewidth=1, label=f"seed {result.config.seed}")
    axes.set(title=title, xlabel="step", ylabel="nats")
    axes.legend(fontsize="small")


def draw(cell: Cell, path: Path) -> None:
    """Draws a cell: training loss, validation NLL, samples of its first seed."""
    figure, (training, validation, samples) = plt.subplots(
        1, 3, figsize=(12, 3.6), layout="constrained"
    )
    _curves(training, cell.results, _TRAINING, "training loss")
    _curves(validation, cell.results, _VALIDATION, "validation NLL (100 samples)")
    first = cell.results[0]
    picture = first.directory / "samples.png"
    if picture.exists():
        samples.imshow(plt.imread(picture), cmap="gray", interpolation="nearest")
    samples.set(title=f"samples, seed {first.config.seed}")
    samples.axis("off")
    figure.suptitle(picture_title(cell), fontsize="medium")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_all(cells: Sequence[Cell], folder: Path) -> None:
    """Draws every cell that has changed since its picture was drawn."""
    for cell in cells:
        path = folder / picture_name(cell)
        if not path.exists() or path.stat().st_mtime < _newest(cell):
            draw(cell, path)


def _newest(cell: Cell) -> float:
    return max((run.directory / "result.json").stat().st_mtime for run in cell.results)
