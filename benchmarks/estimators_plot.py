"""The picture of docs/estimators.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.estimators_page import GROUPS, LEAST, by_groups, relative_bias, rows_of

matplotlib.use("Agg")

from matplotlib import pyplot as plt

Record = dict[str, Any]


def draw(records: dict[str, Record], path: Path) -> None:
    """Relative bias against variance, encoder above prior, one column per number of groups."""
    measured = by_groups(records)
    size = (4.2 * len(measured) + 2.2, 7.2)
    figure, axes = plt.subplots(
        2, len(measured), figsize=size, layout="constrained", squeeze=False, sharey="row"
    )
    names = list(dict.fromkeys(row["baseline"] for record in measured for row in rows_of(record)))
    for column, record in enumerate(measured):
        for line, part in enumerate(("encoder", "prior")):
            _draw_part(axes[line][column], rows_of(record), part, names)
            title = f"{part}, {GROUPS[record['groups']].lower()}"
            axes[line][column].set(xscale="log", yscale="log", title=title)
            axes[line][0].set_ylabel("relative bias")
        axes[-1][column].set_xlabel("variance of a step")
    handles, labels = axes[0][0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


_MARKERS = "osD^v<>Ph*"
_SHAPES = {1: 22.0, 2: 40.0, 5: 75.0}


def _draw_part(axes: plt.Axes, rows: Sequence[Record], part: str, names: list[str]) -> None:
    """Larger marks for larger k; hollow where only a bound of the bias is known."""
    colours = plt.get_cmap("tab10").colors
    for row in rows:
        index = names.index(row["baseline"])
        value, stderr = relative_bias(row["parts"][part])
        colour = colours[index % len(colours)]
        axes.scatter(
            max(row["parts"][part]["variance"], LEAST),
            value,
            s=_SHAPES.get(row["k"], 75.0),
            marker=_MARKERS[(index // len(colours) + index) % len(_MARKERS)],
            facecolors="none" if stderr is None else colour,
            edgecolors=colour,
            label=row["baseline"],
        )
