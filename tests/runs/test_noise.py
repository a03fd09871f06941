"""Of what TensorFlow's libraries print, only lines of no consequence are dropped."""

import os
import threading

from dvae.runs import noise

_INFO = "I0000 00:00:1795.1 1 port.cc:153] oneDNN custom operations are on.\n"
_READ_AS_TEXT = (
    "E0000 00:00:1795.1 1 text_format.cc:378] Error parsing text-format "
    "tensorflow.XlaSerializedCacheEntry: 2:1: Expected identifier, got: 4\n"
)
_FEATURE = (
    "E0000 00:00:1795.1 1 cpu_aot_loader.cc:220] Loading XLA:CPU AOT result. Target machine "
    "feature +{} is not  supported on the host machine. This could lead to SIGILL.\n"
)
_ERRORS = [
    "E0000 00:00:1795.1 1 cuda_dnn.cc:10] Loaded runtime CuDNN library is too old\n",
    "W0000 00:00:1795.1 1 gpu_device.cc:2341] Cannot dlopen some GPU libraries.\n",
    "F0000 00:00:1795.1 1 parse_flags_from_env.cc:234] Unknown flag in XLA_FLAGS: --x\n",
    _FEATURE.format("avx512f"),
    "Image 7 is no image\n",
]


def test_only_lines_of_no_consequence_are_dropped(capfd, monkeypatch):
    """Whole or in pieces, from any thread, before and after a time without a filter."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    harmless = [_INFO, _READ_AS_TEXT, _FEATURE.format("prefer-no-gather")]
    for _ in range(2):
        with noise.dropped(), noise.dropped():
            for text in harmless + _ERRORS[:3] + harmless:
                os.write(2, text.encode())
            writer = threading.Thread(target=os.write, args=(2, _INFO.encode() * 2000))
            writer.start()  # more than a pipe holds
            writer.join()
            for text in _ERRORS[3:]:
                os.write(2, text[:9].encode())
                os.write(2, text[9:].encode())
        os.write(2, _INFO.encode())  # another's own business
    with noise.dropped():
        os.write(2, b"no line yet")
    noise._DIVERSION._filter.close()
    noise._DIVERSION._filter = None
    seen = capfd.readouterr().err
    assert sorted(seen.splitlines(keepends=True)) == sorted([*2 * [*_ERRORS, _INFO], "no line yet"])
