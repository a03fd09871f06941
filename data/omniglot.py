"""OMNIGLOT, 28x28 grey values, as prepared by Burda et al. (ICLR 2016)."""

import hashlib
from pathlib import Path

import numpy as np

from configs.files import bad_file, exists, open_to_read
from data.checks import check_images
from data.dataset import NOT_PUBLISHED, PUBLISHED, Dataset, build_dataset, grey_levels
from data.download import download
from data.matlab import MAX_FILE_BYTES, read_mat

CITATION = (
    "Burda, Grosse, Salakhutdinov 2016, Importance Weighted Autoencoders, ICLR (the format); Lake, "
    "Salakhutdinov, Tenenbaum 2015, Science 350 (OMNIGLOT)"
)
URL = "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/chardata.mat"
FILE_NAME = "chardata.mat"
IMAGE_SHAPE = (28, 28)
WIDTH = 784
NUM_VALIDATION = 1345
PUBLISHED_MD5 = "21ecaf34373511aa7691cf2e0802aa3d"
_KEYS = ("data", "testdata")


def load(data_dir: str | Path) -> Dataset:
    """Finds `chardata.mat` in `DATA_DIR/OMNIGLOT` or in DATA_DIR, or else downloads it.

    The last 1345 training images are the validation set. Training images are binarised anew for
    each batch, validation and test once.

    Args:
      data_dir: the data directory; it may be read-only if the file is there.

    Raises:
      UserError: the file is damaged, or is missing and cannot be downloaded.
    """
    path = Path(data_dir) / "OMNIGLOT" / FILE_NAME
    places = (path, Path(data_dir) / FILE_NAME)
    found = next((place for place in places if exists(place)), None)
    if found is None:
        download(URL, path, f"md5:{PUBLISHED_MD5}")
        found = path
    remedy = f"delete it to download it anew, or put there {URL}"
    data, test = _read(found, remedy)
    with open_to_read(found, MAX_FILE_BYTES, remedy) as file:
        published = hashlib.file_digest(file, "md5").hexdigest() == PUBLISHED_MD5
    train, validation = np.split(data, [-NUM_VALIDATION])
    levels, grey_unit = grey_levels(train)
    return build_dataset(
        name="omniglot",
        train=levels,
        grey_unit=grey_unit,
        validation_grey=validation,
        test_grey=test,
        image_shape=IMAGE_SHAPE,
        notes=f"{len(train)} train + {len(validation)} validation + {len(test)} test images: "
        f"{PUBLISHED if published else NOT_PUBLISHED}; from {found}",
        published=published,
    )


def _read(path: Path, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey values of the training (validation included) and test images, [N, 784], row-major."""
    arrays = read_mat(path, _KEYS, remedy)
    images = []
    for name in _KEYS:
        array = arrays[name]
        if array.ndim != 2 or array.shape[0] != WIDTH:
            what = f"'{name}' has shape {array.shape}, not [{WIDTH}, N]"
            raise bad_file(path, what, remedy)
        rows = _to_rows(array)
        check_images(path, f"'{name}'", rows, WIDTH, remedy)
        images.append(rows)
    if len(images[0]) <= NUM_VALIDATION:
        what = f"'data' has {len(images[0])} columns; the last {NUM_VALIDATION} are for validation"
        raise bad_file(path, what, remedy)
    return images[0], images[1]


def _to_rows(columns: np.ndarray) -> np.ndarray:
    """[784, N] with pixels column by column -> [N, 784] with pixels row by row."""
    pictures = columns.T.reshape(-1, *IMAGE_SHAPE)
    return pictures.transpose(0, 2, 1).reshape(-1, WIDTH)
