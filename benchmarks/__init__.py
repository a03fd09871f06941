"""Timings of kernels and of training steps; never part of the tests."""
