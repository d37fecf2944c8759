r"""The nearest-neighbor search, against brute force in float64."""

import pytest
import torch

from qahm_torch.evaluation import nearest_neighbors


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def brute_force(queries, references):
    r"""Distances in float64 without any matrix product, and the lowest index among equals."""
    mode = "donot_use_mm_for_euclid_dist"
    table = torch.cdist(queries.double(), references.double(), compute_mode=mode)
    distance = table.min(1).values
    return distance, (table == distance[:, None]).int().argmax(1)


def check(queries, references, **settings):
    found = nearest_neighbors(queries, references, **settings)
    distance, index = brute_force(queries, references)
    assert torch.equal(found.index, index)
    torch.testing.assert_close(found.distance.double(), distance, rtol=1e-6, atol=0)


@pytest.mark.parametrize("chunk", [5, 37, 64, 1000])
def test_equals_brute_force_for_any_chunk(chunk):
    check(normal(50, 16), normal(203, 16, seed=1), chunk=chunk)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_equals_brute_force_for_any_dtype(dtype):
    queries, references = normal(30, 8).to(dtype), normal(300, 8, seed=1).to(dtype)
    found = nearest_neighbors(queries, references)
    distance, index = brute_force(queries, references)
    assert found.distance.dtype == dtype
    assert torch.equal(found.index, index)
    torch.testing.assert_close(found.distance, distance.to(dtype))


def test_dtypes_are_promoted():
    found = nearest_neighbors(normal(3, 4), normal(5, 4, dtype=torch.float64))
    assert found.distance.dtype == torch.float64


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_points_far_from_the_origin_suffer_no_cancellation(offset):
    check(normal(40, 32) + offset, normal(400, 32, seed=1) + offset)


def test_neighbors_closer_than_float32_products_resolve():
    references = normal(1, 64) + 1e-5 * normal(500, 64, seed=1)
    check(references[:100] + 1e-6 * normal(100, 64, seed=2), references, chunk=128)


def test_of_duplicates_the_first_wins():
    references = normal(40, 10, seed=1).repeat(5, 1)
    check(normal(60, 10), references, chunk=64)
    assert nearest_neighbors(normal(60, 10), references, chunk=64).index.max() < 40


def test_of_references_all_alike_the_first_wins():
    found = nearest_neighbors(normal(9, 3), torch.ones(100, 3), chunk=16)
    assert not found.index.any()


def test_spins_with_many_ties():
    check(normal(80, 9).sign(), normal(600, 9, seed=1).sign(), chunk=100)


def test_a_member_is_its_own_neighbor_at_distance_zero():
    references = normal(500, 256) * 100
    found = nearest_neighbors(references[100:200], references)
    assert torch.equal(found.index, torch.arange(100, 200))
    assert not found.distance.any()


@pytest.mark.parametrize("scale", [1e-25, 3e-23, 1e-22, 1e25])
def test_squares_beyond_the_range_of_float32(scale):
    check(normal(20, 8) * scale, normal(50, 8, seed=1) * scale)


def test_autocast_and_reduced_precision_change_nothing():
    queries, references = normal(50, 32), normal(2000, 32, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(queries, references)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        check(queries, references)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_equals_brute_force_on_a_cuda_device(precision):
    queries, references = normal(200, 256), normal(5000, 256, seed=1)
    references = references[:1] + 1e-3 * references
    queries = references[:200] + 1e-3 * queries
    expected = nearest_neighbors(queries, references)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = nearest_neighbors(queries.cuda(), references.cuda())
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.index.cpu(), expected.index)
    torch.testing.assert_close(found.distance.cpu(), expected.distance)


def test_no_query_gives_empty_results():
    found = nearest_neighbors(torch.zeros(0, 3), torch.zeros(2, 3))
    assert found.distance.shape == found.index.shape == (0,)
    assert found.index.dtype == torch.int64


def test_arguments_are_left_alone_and_no_gradient_flows():
    queries, references = normal(5, 4).requires_grad_(), normal(6, 4, seed=1)
    before = references.clone()
    assert not nearest_neighbors(queries, references).distance.requires_grad
    assert torch.equal(references, before)


@pytest.mark.parametrize(
    ("queries", "references", "message"),
    [
        (
            torch.zeros(2, 4, 4),
            torch.zeros(3, 16),
            r"queries has shape \(2, 4, 4\), .* flatten",
        ),
        (torch.zeros(2, 16), torch.zeros(16), r"references has shape \(16,\), but"),
        (
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            r"queries .* \(2, 3\) .* references .* \(2, 4\)",
        ),
        (torch.zeros(2, 3), torch.zeros(0, 3), r"references has shape \(0, 3\), but at least 1"),
        (torch.zeros(2, 3), torch.full((2, 3), torch.nan), "references holds nan, but"),
        (torch.full((2, 3), torch.inf), torch.zeros(2, 3), "queries holds inf, but"),
    ],
)
def test_points_that_do_not_fit_are_refused(queries, references, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbors(queries, references)


def test_wrong_dtype_and_chunk_are_refused():
    with pytest.raises(TypeError, match=r"queries has dtype torch\.int64, but"):
        nearest_neighbors(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="chunk is 0, but at least 1 query"):
        nearest_neighbors(torch.zeros(2, 3), torch.zeros(2, 3), chunk=0)
