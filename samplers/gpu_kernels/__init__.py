"""Kernels of our own for GPUs: Triton's intermediate language (NAME.ttir) within our programs.

`embedded` puts a file into a program and says whether a GPU can hold it. Files come from the
modules `triton_*` by `python -m samplers.gpu_kernels.write`, which alone needs Triton.
"""
