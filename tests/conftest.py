"""Settings of the whole suite: quiet TensorFlow, and compiled programs shared by its processes."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dvae import compile_cache

compile_cache.enable(Path(__file__).parents[1] / "build" / "xla-cache")
