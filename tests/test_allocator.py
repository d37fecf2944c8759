import resource

import pytest
import torch

from qahm_torch.training import keep_memory


def new_pages(num_tensors=20, num_numbers=2_000_000):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(num_tensors):
        torch.zeros(num_numbers).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_is_used_again():
    if not keep_memory():
        pytest.skip("not the GNU C library")
    new_pages(2)
    # Each tensor is of some 2000 pages.
    assert new_pages() < 2000
