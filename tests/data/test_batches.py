"""Which images make up which training step."""

import numpy as np
import pytest

from configs.errors import UserError
from data.batches import batch_indices, call_indices


def test_each_epoch_is_a_permutation_of_its_own():
    rows = batch_indices(30, 5, seed=3, first_step=0, num_steps=3 * 6)
    assert rows.shape == (18, 5) and rows.dtype == np.int32
    epochs = rows.reshape(3, 30)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(30), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_last_short_batch_is_skipped():
    rows = batch_indices(11, 4, seed=3, first_step=0, num_steps=6)
    assert [len(set(epoch)) for epoch in rows.reshape(3, 8)] == [8] * 3
    assert rows.max() <= 10
    # but no image is left out for ever
    assert set(batch_indices(11, 4, 3, 0, 40).ravel()) == set(range(11))


@pytest.mark.parametrize("cuts", [[1] * 13, [5, 8], [2, 11], [12, 1]])
def test_division_into_calls_does_not_matter(cuts):
    steps = 3 + np.cumsum([0, *cuts])
    parts = [batch_indices(11, 4, 7, s, n) for s, n in zip(steps.tolist(), cuts, strict=False)]
    np.testing.assert_array_equal(np.concatenate(parts), batch_indices(11, 4, 7, 3, 13))


def test_any_step_and_any_seed_will_do():
    assert batch_indices(13, 3, seed=1, first_step=10**12, num_steps=2).shape == (2, 3)
    assert batch_indices(5, 2, 0, 0, 0).shape == (0, 2)


def test_the_seed_matters_and_any_integer_will_do():
    orders = {tuple(batch_indices(13, 13, s, 0, 1)[0]) for s in (-1, 0, 1, 2**63, 2**64 + 5)}
    assert len(orders) == 5


def test_each_image_comes_first_equally_often():
    first = batch_indices(5, 5, seed=2, first_step=0, num_steps=5000)[:, 0]
    error = np.sqrt(5000 * 0.2 * 0.8)
    assert np.abs(np.bincount(first, minlength=5) - 1000).max() < 5 * error


@pytest.mark.parametrize("batch_size", [12, 0, -1])
def test_impossible_batches(batch_size):
    with pytest.raises(UserError, match="batch size"):
        batch_indices(11, batch_size, 0, 0, 1)


def test_rows_of_a_call_are_padded():
    rows = call_indices(11, 4, 7, 3, 2, 5)
    assert rows.shape == (5, 4) and rows.dtype == np.int32
    np.testing.assert_array_equal(rows[:2], batch_indices(11, 4, 7, 3, 2))
    assert not rows[2:].any()
