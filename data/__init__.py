"""Data sets: found on disk or downloaded, checked, and turned into arrays.

This package is code only; the files live where `--data_dir` says. It imports neither `dvae` nor
`samplers` nor TensorFlow, and prints nothing but the progress of downloads, to stderr.
"""

from pathlib import Path

from configs.errors import UserError
from data import binarized_mnist, digits, omniglot, user_file
from data.batches import batch_indices
from data.dataset import Dataset

__all__ = ["DOWNLOADED", "NAMES", "Dataset", "batch_indices", "citation", "load"]

_MODULES = {"binarized_mnist": binarized_mnist, "omniglot": omniglot, "digits": digits}
NAMES = tuple(_MODULES)
DOWNLOADED = ("binarized_mnist", "omniglot")  # these need `data_dir`


def load(dataset: str, data_dir: str, input_size: int | None = None) -> Dataset:
    """Loads a data set.

    Args:
      dataset: one of `NAMES`, or the path of a user's own file ending in .npz.
      data_dir: where binarized_mnist and omniglot are looked for, and downloaded to.
      input_size: the width the caller counts on; None follows the data.

    Raises:
      UserError: the data set is unknown, missing, damaged, or not `input_size` wide.
    """
    if dataset == "binarized_mnist":
        found = binarized_mnist.load(data_dir)
    elif dataset == "omniglot":
        found = omniglot.load(data_dir)
    elif dataset == "digits":
        found = digits.load()
    elif Path(dataset).suffix == ".npz":
        found = user_file.load(dataset)
    else:
        raise UserError(
            f"unknown dataset '{dataset}'; choose {', '.join(NAMES)}, or the path of an .npz file"
        )
    if input_size is not None and input_size != found.input_size:
        raise UserError(
            f"input_size is {input_size}, but the images of {dataset} have {found.input_size} "
            f"pixels; use --input_size={found.input_size}"
        )
    return found


def citation(dataset: str) -> str:
    """What is to be cited for a data set, by its name."""
    return _MODULES[dataset].CITATION if dataset in _MODULES else "your own"
