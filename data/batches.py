"""Which images make up which training step: a pure function of (seed, step)."""

import numpy as np

from configs.errors import UserError, name_of

_WORD = 0xFFFF_FFFF_FFFF_FFFF


def epoch_permutation(num_images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the images in one epoch, int32 [num_images], from (seed, epoch) alone."""
    key = np.array([seed & _WORD, epoch & _WORD], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.permutation(num_images).astype(np.int32)


def batch_indices(
    num_images: int, batch_size: int, seed: int, first_step: int, num_steps: int
) -> np.ndarray:
    """Indices of the training images of some consecutive steps.

    Step t belongs to epoch t // (num_images // batch_size). Each epoch has a permutation of its
    own; its last short batch is skipped. Since nothing but (seed, step) enters, a resumed run
    sees the batches that it would have seen, however the steps are divided into calls.

    Args:
      num_images: size of the training set.
      batch_size: images in a batch.
      seed: the run's seed.
      first_step: step of the first row.
      num_steps: number of rows.

    Returns:
      int32 [num_steps, batch_size]; row s holds the image indices of step `first_step + s`.

    Raises:
      UserError: batch_size is below 1 or larger than the training set.
    """
    if batch_size < 1:
        raise UserError(f"the training batch size is {batch_size}; it must be at least 1")
    if batch_size > num_images:
        raise UserError(
            f"the training batch size is {batch_size}, but there are only {num_images} training "
            f"images; choose a smaller {name_of('train_batchsize')}"
        )
    steps_per_epoch = num_images // batch_size
    rows = np.empty((num_steps, batch_size), dtype=np.int32)
    row = 0
    while row < num_steps:
        epoch, first = divmod(first_step + row, steps_per_epoch)
        count = min(steps_per_epoch - first, num_steps - row)
        order = epoch_permutation(num_images, seed, epoch)
        chosen = order[first * batch_size : (first + count) * batch_size]
        rows[row : row + count] = chosen.reshape(count, batch_size)
        row += count
    return rows


def call_indices(
    num_images: int,
    batch_size: int,
    seed: int,
    first_step: int,
    num_steps: int,
    steps_per_call: int,
) -> np.ndarray:
    """`batch_indices` of `num_steps` steps, padded with zeros to the rows of a compiled call.

    Returns:
      int32 [steps_per_call, batch_size]; rows from `num_steps` on are not to be used.
    """
    padded = np.zeros([steps_per_call, batch_size], np.int32)
    padded[:num_steps] = batch_indices(num_images, batch_size, seed, first_step, num_steps)
    return padded
