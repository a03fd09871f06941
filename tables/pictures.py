"""One picture for each cell of a report: its curves and samples."""

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.files import bad_file, exists, open_to_read, own_directory, read_bytes, replacing
from configs.text import one_row
from dvae.runs.metrics_file import MAX_METRICS_BYTES, read_metrics
from tables import protocol as protocols
from tables.results import Cell, Result

_TRAINING = ("train/neg_elbo", "train/neg_iw_loss")
_VALIDATION = ("val/neg_ll",)
# A picture of samples has a few thousand pixels.
_MAX_PICTURE_BYTES, _MAX_PIXELS = 1 << 26, 1 << 24


def picture_name(cell: Cell) -> str:
    """File name of a cell's picture: distinct for each setting and protocol."""
    s = cell.setting
    steps = cell.results[0].config.num_train_iter
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", s.dataset)[:60]
    prior = "" if s.prior == "rbm" else re.sub(r"[^A-Za-z0-9_.-]", "", s.prior)[:60] + "_"
    digest = protocols.digest(cell.protocol if name == s.dataset else (s.dataset, cell.protocol))
    return f"{name}_{s.struct}_{s.baseline}_k{s.k}_{prior}{s.sampler}_{steps}steps_{digest}.png"


def picture_title(cell: Cell) -> str:
    """What a cell's picture shows, in a line."""
    s = cell.setting
    prior = "" if s.prior == "rbm" else f"{s.prior}, "
    steps = cell.results[0].config.num_train_iter
    return f"{s.dataset}, {s.struct}, {s.baseline}, k={s.k}, {prior}{s.sampler}, {steps:,} steps"


def _pyplot() -> Any:
    """matplotlib.pyplot, imported when it is used: flags are checked before anything slow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _curves(axes: Any, results: Sequence[Result], names: Sequence[str], title: str) -> None:
    for result in results:
        try:
            found = read_metrics(result.directory / "metrics.jsonl")
        except UserError:  # `draw_all` names it
            continue
        curve = next((found[name] for name in names if name in found), ((), ()))
        axes.plot(*curve, marker=".", linewidth=1, label=f"seed {result.config.seed}")
    axes.set(title=title, xlabel="step", ylabel="nats")
    if axes.lines:
        axes.legend(fontsize="small")


def _read_samples(path: Path) -> np.ndarray | None:
    """The picture of a run's samples, [H, W] or [H, W, C]; None where there is none.

    Raises:
      UserError: it is no PNG of a size to be shown. Nothing of it is decoded then.
    """
    if not exists(path):
        return None
    content = read_bytes(path, _MAX_PICTURE_BYTES)
    if len(content) < 24 or content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise bad_file(path, "is no PNG picture", "")
    width, height = struct.unpack(">II", content[16:24])
    if width * height > _MAX_PIXELS:
        raise bad_file(path, f"has {width} x {height} pixels, more than can be shown", "")
    plt = _pyplot()
    try:
        return plt.imread(io.BytesIO(content), format="png")
    except Exception as error:  # a decoder of pictures raises many types on damaged bytes
        raise bad_file(path, f"is a damaged picture ({error})", "") from None


def _draw(cell: Cell, path: Path) -> None:
    """Draws a cell: training loss, validation NLL, samples of its first seed."""
    plt = _pyplot()
    figure, (training, validation, samples) = plt.subplots(1, 3, figsize=(12, 3.8))
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.13, top=0.82, wspace=0.2)
    _curves(training, cell.results, _TRAINING, "training loss")
    _curves(validation, cell.results, _VALIDATION, "validation NLL (100 importance samples)")
    first = cell.results[0]
    with contextlib.suppress(UserError):  # `draw_all` names it
        picture = _read_samples(first.directory / "samples.png")
        if picture is not None:
            samples.imshow(picture, cmap="gray", interpolation="nearest")
    samples.set(title=f"samples, seed {first.config.seed}")
    samples.axis("off")
    figure.suptitle(one_row(picture_title(cell)), fontsize="medium", parse_math=False)
    try:
        with replacing(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of letters that its fonts lack
            figure.savefig(file, format="png", dpi=100)
    finally:
        plt.close(figure)


def _not_shown(cell: Cell) -> list[str]:
    """Files of a cell that its picture must do without, and why: a line each."""
    found = []
    for result in cell.results:
        metrics = result.directory / "metrics.jsonl"
        try:
            if exists(metrics):
                with open_to_read(metrics, MAX_METRICS_BYTES, may_be_empty=True):
                    pass
        except UserError as error:
            found.append(str(error))
    try:
        _read_samples(cell.results[0].directory / "samples.png")
    except UserError as error:
        found.append(str(error))
    return found


def draw_all(cells: Sequence[Cell], folder: Path) -> list[str]:
    """Draws every cell that has changed since its picture was drawn.

    Returns:
      What could not be shown in them, and why: a line for each file.

    Raises:
      OSError: they cannot be written.
    """
    own_directory(folder)
    problems = []
    for cell in cells:
        problems += _not_shown(cell)
        path = folder / picture_name(cell)
        if not path.exists() or path.stat().st_mtime < _newest(cell):
            _draw(cell, path)
    return problems


def _newest(cell: Cell) -> float:
    return max((run.directory / "result.json").stat().st_mtime for run in cell.results)
