"""What a loop carries: bits, and how many tensors."""

import numpy as np
import tensorflow as tf

from dvae import packing


def test_what_is_packed_comes_back_to_the_bit():
    """All types of a training state, infinities and numbers that are none among them."""
    odd = tf.bitcast(tf.constant([[0x7FC01234, -1], [1, 0x7F800000]], tf.int32), tf.float32)
    nest = {
        "float": odd,
        "large": tf.range(packing._SMALL + 1.0),
        "ints": (tf.constant([[1], [-2]]), tf.constant([3, -4], tf.int64)),
        "double": tf.constant(1.0 / 3.0, tf.float64),
        "byte": tf.constant([5, 6], tf.uint8),
        "none": (),
    }
    packed = packing.pack(nest)
    assert [len(packed[0]), *(vector.shape for vector in packed[1:])] == [2, 6, 3]
    back = packing.unpack(packed, nest)
    tf.nest.assert_same_structure(nest, back)
    for old, new in zip(tf.nest.flatten(nest), tf.nest.flatten(back), strict=True):
        assert old.dtype == new.dtype and old.shape == new.shape
        assert old.numpy().tobytes() == new.numpy().tobytes()


def test_nothing_small_is_nothing():
    nest = [tf.zeros([packing._SMALL + 1])]
    back = packing.unpack(packing.pack(nest), nest)
    np.testing.assert_array_equal(back[0], nest[0])
