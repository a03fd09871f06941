"""Data sets: found on disk or downloaded, checked, and turned into arrays.

This package is code only; the files live where `--data_dir` says. It imports neither `dvae` nor
`samplers` nor TensorFlow, and prints nothing but the progress of downloads, to stderr.
"""

import dataclasses
from pathlib import Path

from configs.datasets import DATASETS, check_known
from configs.errors import UserError, name_of
from configs.registry import resolve
from data import user_file
from data.batches import batch_indices
from data.dataset import Dataset
from data.download import has_files

__all__ = ["Dataset", "batch_indices", "check_size", "load", "places"]


def places(data_dir: str | None) -> tuple[str, ...]:
    """Directories in which data sets are looked for; they are downloaded to the first."""
    return ("datasets", "data") if data_dir is None else (data_dir,)  # the second is of 2018


def load(dataset: str, data_dir: str | None = None, input_size: int | None = None) -> Dataset:
    """Loads a data set.

    Args:
      dataset: one of `DATASETS`, or the path of a user's own file ending in .npz.
      data_dir: where published files are looked for, and downloaded to. None: "datasets", or
        "data" where only that has one of them.
      input_size: the width the caller counts on; None follows the data.

    Raises:
      UserError: the data set is unknown, missing, damaged, or not `input_size` wide.
    """
    check_known(dataset)
    if dataset in DATASETS:
        entry = DATASETS[dataset]
        folders = [Path(place) for place in places(data_dir)]
        folder = next((place for place in folders if has_files(entry, place)), folders[0])
        loaded = resolve(entry.loader, __package__)(entry, folder)
        loaded = dataclasses.replace(loaded, name=dataset)
    else:
        loaded = user_file.load(Path(dataset))
    check_size(loaded, input_size)
    return loaded


def check_size(dataset: Dataset, input_size: int | None) -> None:
    """Raises UserError unless images have the width the caller counts on, or none is given."""
    if input_size not in (None, dataset.input_size):
        raise UserError(
            f"input_size is {input_size}, but the images of {dataset.name} have "
            f"{dataset.input_size} pixels; use {name_of('input_size')}={dataset.input_size}"
        )
