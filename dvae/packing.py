"""What a loop carries: its small tensors side by side, which a GPU writes by one operation."""

from typing import Any

import tensorflow as tf

from dvae.adam import flatten, unflatten

_SMALL = 50_000  # elements: a GPU moves as much in the time that an operation takes to start
_BITS = {4: tf.int32, 8: tf.int64}  # by the bytes of an element

Packed = list[Any]


def _grouped(nest: Any) -> dict[int, list[tf.Tensor]]:
    """Small tensors by the bytes of an element; at 0 all others."""
    groups: dict[int, list[tf.Tensor]] = {0: [], **{size: [] for size in _BITS}}
    for leaf in tf.nest.flatten(nest):
        groups[_group(leaf)].append(leaf)
    return groups


def _group(leaf: tf.Tensor) -> int:
    is_small = leaf.shape.num_elements() <= _SMALL
    return leaf.dtype.size if is_small and leaf.dtype.size in _BITS else 0


def pack(nest: Any) -> Packed:
    """A nest of tensors of static shapes: large ones, and the bits of the small in two vectors."""
    groups = _grouped(nest)
    vectors = [flatten([tf.bitcast(x, kind) for x in groups[n]]) for n, kind in _BITS.items()]
    return [groups[0], *vectors]


def unpack(packed: Packed, like: Any) -> Any:
    """The inverse of `pack`, of a nest with the shapes and types of `like`."""
    (_, *groups), (large, *vectors) = _grouped(like).values(), packed
    pieces = [large, *map(unflatten, vectors, groups)]
    following = {group: iter(piece) for group, piece in zip((0, *_BITS), pieces, strict=True)}
    leaves = tf.nest.flatten(like)
    found = [tf.bitcast(next(following[_group(leaf)]), leaf.dtype) for leaf in leaves]
    return tf.nest.pack_sequence_as(like, found)
