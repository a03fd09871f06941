"""The 8x8 handwritten digits that come with scikit-learn: small, real, and offline."""

import numpy as np

from data.dataset import Dataset, build_dataset

CITATION = (
    "Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository (CC BY 4.0), as bundled with scikit-learn"
)
GREY_UNIT = 1.0 / 16.0  # the file holds levels 0..16
IMAGE_SHAPE = (8, 8)
NUM_VALIDATION = 200
NUM_TEST = 300
SPLIT_SEED = 0


def load() -> Dataset:
    """Loads the digits: 1297 training, 200 validation and 300 test images of 64 pixels.

    The split is our own and fixed. Training images are binarised anew for each batch, validation
    and test once, as for omniglot.
    """
    from sklearn.datasets import load_digits  # costs a second; only digits needs it

    levels = load_digits().data.astype(np.uint8)
    levels = levels[np.random.RandomState(SPLIT_SEED).permutation(len(levels))]
    test, validation, train = np.split(levels, [NUM_TEST, NUM_TEST + NUM_VALIDATION])
    return build_dataset(
        name="digits",
        train=train,
        grey_unit=GREY_UNIT,
        validation_grey=validation * GREY_UNIT,
        test_grey=test * GREY_UNIT,
        image_shape=IMAGE_SHAPE,
        notes=f"{len(train)} train + {len(validation)} validation + {len(test)} test images, "
        "bundled with scikit-learn; no published figures to compare with",
    )
