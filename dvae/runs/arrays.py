"""What goes into a trained model and what comes out: arrays that are checked, and their meaning."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data import conversions
from data.checks import wrong_values
from data.dataset import is_binary
from samplers import counter_random

# Rows of one call of a compiled program: whatever their number, it is compiled once. What is drawn
# for the first rows does not depend on how many follow.
BLOCK = 100


class Encoded(NamedTuple):
    """One binary sample of the posterior for each of N images.

    latents: uint8 [N, D], groups side by side. probabilities: float32 [N, D], of a one, given the
    image and the groups before. log_prob: float32 [N], log q(z | x) in nats.

    Of an undirected posterior the sample is by annealed importance sampling, the probabilities are
    given the image and the other half, and log_prob is an estimate: see
    `dvae.undirected.UndirectedEncoder.sample_binary`.
    """

    latents: np.ndarray
    probabilities: np.ndarray
    log_prob: np.ndarray

    def __repr__(self) -> str:
        images, units = self.latents.shape
        return f"Encoded({images} images, {units} latents, {self.latents.mean():.0%} of them 1)"


class LogPartitionValue(NamedTuple):
    """log Z of the prior in nats.

    value: exact where the prior can be enumerated, else by forward AIS (low on average).
    low, high: 95 % interval; None where it is not known. status: "exact"; what reverse AIS says of
    the upper side, "checked" (started from the run's chains); or "not to be trusted". reasons: why
    not, a clause each.
    """

    value: float
    low: float | None
    high: float | None
    status: str
    reasons: tuple[str, ...] = ()


class LogLikelihood(NamedTuple):
    """log p(x) of N images, in nats.

    values: float64 [N], the importance-weighted bound of Burda et al. 2016: low on average by what
    the number of samples leaves. stderr: float64 [N], from the finite number of samples alone; NaN
    for a single one. log_partition: subtracted from all values, so that its error moves them
    together, the other way.
    """

    values: np.ndarray
    stderr: np.ndarray
    log_partition: LogPartitionValue

    def __repr__(self) -> str:
        return (
            f"LogLikelihood({len(self.values)} images: mean {self.values.mean():.2f} nats; "
            f"{self.log_partition})"
        )


def check_count(name: str, value: int) -> None:
    """Raises ValueError unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def binary_rows(what: str, values: np.ndarray, shapes: list[tuple[int, ...]]) -> np.ndarray:
    """The values as float32 [N, X]. Raises ValueError unless all are 0 or 1, of an allowed shape.

    shapes: of one row.
    """
    values = np.asarray(values)
    if values.shape[1:] not in shapes or len(values) == 0:
        allowed = " or ".join(str(["N", *shape]).replace("'", "") for shape in shapes)
        line = conversions.of_shape(what, values.shape)
        if values.shape in shapes:
            line = f"{what} = {what}[None]"
        wrong = f"{what} have shape {list(values.shape)}, not {allowed} with N at least 1"
        raise ValueError(f"{wrong}: {line}" if line else wrong)
    _check_binary(what, values)
    return values.reshape(len(values), -1).astype(np.float32)


def binary_row(what: str, values: np.ndarray, shapes: list[tuple[int, ...]]) -> np.ndarray:
    """One row as float32 [1, X], with an axis of 1 before it or not. As `binary_rows` otherwise."""
    values = np.asarray(values)
    if values.shape not in shapes and values.shape not in [(1, *shape) for shape in shapes]:
        allowed = " or ".join(str([*shape]) for shape in shapes)
        raise ValueError(f"{what} has shape {list(values.shape)}, not {allowed}")
    _check_binary(what, values)
    return values.reshape(1, -1).astype(np.float32)


def _check_binary(what: str, values: np.ndarray) -> None:
    """Raises ValueError, with the line that helps, unless all values are 0 or 1."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be of 0 and 1, not of dtype {values.dtype}")
    if is_binary(values):
        return
    if wrong_values(values):
        raise ValueError(f"{what} must be of 0 and 1: {conversions.of_values(what, values)}")
    line = f"{what} = np.random.default_rng(0).random({what}.shape) < {what}"
    raise ValueError(f"{what} must be of 0 and 1: binarise grey values, as training does: {line}")


def block_key(key: tf.Tensor, block: int) -> tf.Tensor:
    """The key of a block's draws; that of the first is the key itself."""
    return counter_random.fold_in(key, block) if block else key


def in_blocks(program: Callable[..., Sequence[tf.Tensor]], rows: np.ndarray) -> list[np.ndarray]:
    """Outputs [N, ...] of a program for rows [N, X]: of calls with `BLOCK` rows and their number.

    The last block is filled up with zeros, whose outputs are cut off.
    """
    filled = np.zeros([-(-len(rows) // BLOCK) * BLOCK, rows.shape[1]], rows.dtype)
    filled[: len(rows)] = rows
    blocks = filled.reshape(-1, BLOCK, rows.shape[1])
    outputs = [program(tf.constant(block), index) for index, block in enumerate(blocks)]
    return [np.concatenate(parts)[: len(rows)] for parts in zip(*outputs, strict=True)]
