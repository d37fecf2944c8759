r"""What pytest leaves out where a package is not there."""

from importlib.util import find_spec

# Its doctests are collected by importing it, and triton comes with CUDA builds of torch only.
collect_ignore = [] if find_spec("triton") else ["qahm_torch/kernels/cuda.py"]
