"""Which errors of TensorFlow are laid at the door of the compile cache."""

import pytest
import tensorflow as tf

from configs.errors import UserError
from dvae.runs.compile_cache import CompileCacheSuspected, compile_cache_guard

# What TensorFlow 2.21 raised for an entry cut short, of random bytes, emptied, and a full disk.
_OF_THE_CACHE = (
    (tf.errors.OutOfRangeError, "Read less bytes than requested"),
    (tf.errors.DataLossError, "Can't parse /c/xla_compile_cache__1.pb as binary proto"),
    (tf.errors.InvalidArgumentError, "Serialized cache key does not match."),
    (tf.errors.ResourceExhaustedError, "/c/xla_compile_cache__1.pb.tmp; No space left on device"),
)


def guarded(kind, message):
    with compile_cache_guard():
        raise kind(None, None, message)


@pytest.mark.parametrize(("kind", "message"), _OF_THE_CACHE)
def test_errors_of_the_cache(kind, message):
    with pytest.raises(CompileCacheSuspected, match=message.split(";")[0].split(".")[0][:20]):
        guarded(kind, f"{message}\nmore")


def test_memory_is_one_line():
    with pytest.raises(UserError, match=r"memory ran out .OOM when allocating.*train_batchsize"):
        guarded(tf.errors.ResourceExhaustedError, "OOM when allocating 3 GB\non GPU:0")


def test_other_errors_pass_as_they_are():
    with pytest.raises(tf.errors.InternalError, match="ptxas"):
        guarded(tf.errors.InternalError, "ptxas exited with code 255")
    with pytest.raises(ZeroDivisionError), compile_cache_guard():
        raise ZeroDivisionError
