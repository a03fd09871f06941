"""Published settings as data: no mathematics, no TensorFlow."""
