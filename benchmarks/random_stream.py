"""Writes random words to standard output for ever, for an outside battery of tests:

    python -m benchmarks.random_stream --along=counter | dieharder -g 200 -a

--along says in which order the generator is read, since it is used in every one of them:
  counter  through one large tensor after the other (a new key each)
  stream   the same element of 4096 streams under one key, then the next element
  seed     the same element under 4096 successive seeds, then the next element
  draws    fair draws of the sampling kernel, 32 of them packed into a word
"""

import argparse
import os
import sys

import numpy as np
import tensorflow as tf

from samplers import counter_random

_WIDTH = 4096
_LENGTH = 1024


@tf.function(jit_compile=True, autograph=False)
def _along_counter(key: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    return counter_random.bits(counter_random.fold_in(key, index), [_LENGTH * _WIDTH])


@tf.function(jit_compile=True, autograph=False)
def _along_stream(key: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """[length, streams]: the stream moves fastest."""
    key = counter_random.fold_in(key, index)
    counter = tf.bitcast(tf.range(_LENGTH // 2)[:, None], tf.uint32)
    streams = tf.bitcast(tf.range(_WIDTH)[None, :], tf.uint32)
    return tf.concat(counter_random.threefry_2x32(key, counter + 0 * streams, streams), axis=0)


@tf.function(jit_compile=True, autograph=False)
def _along_seed(key: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """[length, seeds]: the low word of the key, that is the seed, moves fastest."""
    first = key[0] + index * _WIDTH
    seeds = tf.bitcast(first + tf.range(_WIDTH)[None, :], tf.uint32)
    seeds += tf.zeros([_LENGTH // 2, 1], tf.uint32)
    high = tf.zeros_like(seeds) + tf.bitcast(key[1], tf.uint32)
    counter = tf.bitcast(tf.range(_LENGTH // 2)[:, None], tf.uint32)
    return tf.concat(counter_random.threefry_2x32([seeds, high], counter, 0 * seeds), axis=0)


@tf.function(jit_compile=True, autograph=False)
def _draws(key: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    logits = tf.zeros([_LENGTH // 4, 32, _WIDTH])
    draws = counter_random.bernoulli_logits(key, logits, stream=index)
    weights = tf.bitwise.left_shift(tf.constant(1, tf.uint32), tf.bitcast(tf.range(32), tf.uint32))
    return tf.reduce_sum(tf.cast(draws, tf.uint32) * weights[:, None], axis=1)


_ORDERS = {
    "counter": _along_counter,
    "stream": _along_stream,
    "seed": _along_seed,
    "draws": _draws,
}


def main() -> None:
    """Writes until the reader closes the pipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--along", choices=_ORDERS, default="counter")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    key = counter_random.key(options.seed)
    index = 0
    try:
        while True:
            words = _ORDERS[options.along](key, tf.constant(index)).numpy()
            sys.stdout.buffer.write(np.ascontiguousarray(words).tobytes())
            index += 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
