"""What must hold of an array of images, whatever file it came from."""

from pathlib import Path

import numpy as np

from configs.files import bad_file
from data.dataset import is_binary

_NUMBER_KINDS = "buif"  # bool, unsigned, signed, float; no complex, objects or text


def check_dtype(path: Path, what: str, dtype: np.dtype, remedy: str) -> None:
    """Raises a UserError unless the dtype is that of real numbers."""
    if dtype.kind not in _NUMBER_KINDS:
        raise bad_file(path, f"{what} has dtype {dtype}, not numbers", remedy)


def check_images(path: Path, what: str, images: np.ndarray, width: int, remedy: str) -> None:
    """Raises a UserError unless `images` is [N >= 1, width] with all values in [0, 1].

    Args:
      path: the file, for the message.
      what: the name of the array, for the message.
      images: the array.
      width: expected number of pixels.
      remedy: what the user can do; ends the message.
    """
    check_dtype(path, what, images.dtype, remedy)
    if images.ndim != 2 or images.shape[1] != width:
        raise bad_file(path, f"{what} has shape {images.shape}, not [N, {width}]", remedy)
    if wrong := wrong_values(images):
        raise bad_file(path, f"{what} {wrong}", remedy)


def wrong_values(images: np.ndarray) -> str | None:
    """What is wrong with real images [N, ...], whose values must lie in [0, 1]; None if nothing."""
    if images.size == 0:
        return "holds no images"
    low, high = images.min(), images.max()  # NaN if there is a NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        odd = ~np.isfinite(images)
        first = [int(i) for i in np.unravel_index(np.argmax(odd), odd.shape)]
        return f"holds NaN or infinity: {odd.sum()} of {odd.size} values, first at {first}"
    if low < 0 or high > 1:
        return f"holds values from {low} to {high}, not in [0, 1]"
    return None


def check_binary(path: Path, what: str, images: np.ndarray, width: int, remedy: str) -> None:
    """Like `check_images`, and all values must be exactly 0 or 1."""
    check_images(path, what, images, width, remedy)
    if not is_binary(images):
        raise bad_file(path, f"{what} holds values between 0 and 1, not only 0 and 1", remedy)
