r"""What holds for all tests: one thread each, and what pytest leaves out where it is not there."""

import os
from importlib.util import find_spec

# Before torch loads. The tensors are small, and each worker has a core of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Its doctests are collected by importing it, and triton comes with CUDA builds of torch only.
collect_ignore = [] if find_spec("triton") else ["qahm_torch/kernels/cuda.py"]


def pytest_collection_modifyitems(items):
    r"""Puts files with slow tests first, so that no worker waits for another one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
