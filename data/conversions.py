"""What people have in the place of images in [0, 1], and the line that converts it.

docs/own_data.md has the same lines, and those of formats that no array shows.
"""

import numpy as np

# Least of the values, limits of the largest one, and the line; else they are of some other range.
_OF_VALUES = (
    (-0.01, 0, 1.01, "{0}.clip(0, 1)"),  # rounded
    (-1, 0.5, 1, "({0} + 1) / 2"),  # spins
    (0, 128, 255, "{0} / 255"),  # bytes
    (0, 32768, 65535, "{0} / 65535"),
)
_OF_OTHER_VALUES = "np.interp({0}, [{0}.min(), {0}.max()], [0, 1])"


def of_shape(name: str, shape: tuple[int, ...]) -> str | None:
    """The line that makes [N, H, W] or [N, X] of an array of that name; None if none is known."""
    match shape:
        case (_, 1, _, _):  # channels first, as in PyTorch
            line = "{0}[:, 0]"
        case (_, _, _, 2):  # grey and alpha
            line = "{0}[..., 0]"
        case (_, _, _, 3 | 4):  # colour, with alpha
            line = "{0}[..., :3].mean(axis=-1)"
        case (_, 3 | 4, _, _):
            line = "{0}[:, :3].mean(axis=1)"
        case (_, _, _, _, *_):
            line = "{0}.reshape(len({0}), -1)"
        case _:
            return None
    return f"{name} = {line.format(name)}"


def of_values(name: str, values: np.ndarray) -> str:
    """The line that makes values in [0, 1] of an array of that name, which has others."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{name} = {name}[np.isfinite({name}).reshape(len({name}), -1).all(axis=1)]"
    lines = (row[-1] for row in _OF_VALUES if row[0] <= low and row[1] <= high <= row[2])
    return f"{name} = {next(lines, _OF_OTHER_VALUES).format(name)}"
