"""Timings of kernels and of training steps; never part of the tests."""

import sys

from dvae.runs import noise

if sys.argv[0] == "-m":  # while python -m looks for the program
    noise.drop_until_exit()
