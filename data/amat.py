"""The .amat text: one image a line, its pixels 0 or 1 separated by blanks."""

import os
from pathlib import Path

import numpy as np

from configs import memory
from configs.files import bad_file, one_line, open_to_read

MAX_AMAT_BYTES = 1 << 30  # the published training set has 78 MB
_WORKING = 4  # bytes for each of the text: the text, the kind of each byte, which are pixels
# What each byte is: a blank, a pixel or neither.
_BLANK, _PIXEL, _STRANGE = 0, 1, 2
_KINDS = np.full(256, _STRANGE, np.uint8)
_KINDS[list(b"01")] = _PIXEL
_KINDS[list(b" \t\r\n")] = _BLANK


def read_amat(path: Path, width: int, remedy: str) -> np.ndarray:
    """Reads an .amat file.

    Args:
      path: the file.
      width: pixels of an image.
      remedy: what the user can do; ends the message of an error.

    Returns:
      uint8 [N, width] of 0/1.

    Raises:
      UserError: the file cannot be read, or is anything but lines of `width` characters 0/1.
    """
    with open_to_read(path, MAX_AMAT_BYTES, remedy) as file:
        needed = _WORKING * os.fstat(file.fileno()).st_size
        memory.require(needed, f"{one_line(path)}: it", remedy)
        text = np.frombuffer(file.read(), dtype=np.uint8)
    if text.size % (2 * width) == 0:  # the published layout is read ten times faster
        images = text.reshape(-1, 2 * width)[:, ::2] - ord("0")
        if images.max() <= 1 and np.array_equal(to_amat(images).view(np.uint8).ravel(), text):
            return images
    kinds = _KINDS[text]
    if kinds.max() == _STRANGE:
        at = int(np.argmax(kinds == _STRANGE))
        what = f"has the byte {bytes(text[at : at + 1])!r} at offset {at}, neither 0, 1 nor blank"
        raise bad_file(path, what, remedy)
    is_pixel = kinds.view(bool)
    if (is_pixel[1:] & is_pixel[:-1]).any():
        at = int(np.argmax(is_pixel[1:] & is_pixel[:-1]))
        raise bad_file(path, f"has a number other than 0 and 1 at offset {at}", remedy)
    _check_lines(path, text, is_pixel, width, remedy)
    return (text[is_pixel] - ord("0")).reshape(-1, width)


def to_amat(images: np.ndarray) -> np.ndarray:
    """The published text form of uint8 [N, X] of 0/1: one blank between pixels, none at the end.

    Returns:
      [N, X] of two bytes each, the pixel and what follows it; its buffer is the text.
    """
    text = np.add(images, np.frombuffer(b"0 ", "<u2"), order="C")
    text[:, -1] = images[:, -1] + np.frombuffer(b"0\n", "<u2")
    return text


def _check_lines(
    path: Path, text: np.ndarray, is_pixel: np.ndarray, width: int, remedy: str
) -> None:
    """Each line holds `width` pixels or none, at least one holds some."""
    starts = np.append(0, np.flatnonzero(text == ord("\n")) + 1)
    starts = starts[starts < text.size]
    per_line = np.add.reduceat(is_pixel, starts, dtype=np.int64)
    wrong = (per_line != 0) & (per_line != width)
    if wrong.any():
        line = int(np.argmax(wrong))
        what = f"line {line + 1} has {per_line[line]} pixels, not {width}"
        raise bad_file(path, what, remedy)
    if not per_line.any():
        raise bad_file(path, "holds no images", remedy)
