"""The 8x8 handwritten digits that come with scikit-learn: small, real, and offline."""

from pathlib import Path

import numpy as np

from configs.datasets import DatasetEntry
from data.dataset import Dataset, build_dataset

GREY_UNIT = 1.0 / 16.0  # the file holds levels 0..16
SPLIT_SEED = 0


def load(entry: DatasetEntry, data_dir: Path) -> Dataset:
    """Loads the digits of scikit-learn, which need no `data_dir`.

    The split is our own and fixed. Training images are binarised anew for each batch, validation
    and test once, as for omniglot.
    """
    from sklearn.datasets import load_digits  # costs a second; only digits needs it

    del data_dir
    levels = load_digits().data.astype(np.uint8)
    levels = levels[np.random.RandomState(SPLIT_SEED).permutation(len(levels))]
    _, num_validation, num_test = entry.sizes
    test, validation, train = np.split(levels, [num_test, num_test + num_validation])
    return build_dataset(
        train,
        validation * GREY_UNIT,
        test * GREY_UNIT,
        image_shape=entry.image_shape,
        grey_unit=GREY_UNIT,
        notes=", bundled with scikit-learn; no published figures to compare with",
    )
