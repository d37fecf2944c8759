r"""Nearest rows of which cells are missing, against loops over pairs."""

import math

import pytest
import torch

from qahm_torch.evaluation import nearest_known_distance, nearest_neighbors


def with_holes(num, seed, share=0.4):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num, 5, generator=generator)
    return rows.masked_fill(torch.rand(num, 5, generator=generator) < share, torch.nan)


def by_pairs(queries, references):
    def distance(x, y):
        squares = [(a - b) ** 2 for a, b in zip(x, y) if not math.isnan(a + b)]
        return math.sqrt(5 * sum(squares) / len(squares)) if squares else math.inf

    return [min(distance(x, y) for y in references.tolist()) for x in queries.tolist()]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_distances_are_those_of_all_pairs(chunk):
    queries, references = with_holes(40, 0), with_holes(30, 1)
    queries[3] = torch.nan
    found = nearest_known_distance(queries, references, chunk)
    expected = by_pairs(queries, references)
    assert found[3].isnan() and expected[3] == math.inf
    known = [k for k in range(40) if k != 3]
    torch.testing.assert_close(
        found[known], torch.tensor([expected[k] for k in known], dtype=torch.float64)
    )


def test_complete_rows_are_as_far_as_ever():
    queries, references = with_holes(20, 0, 0.0), with_holes(30, 1, 0.0)
    expected = nearest_neighbors(queries, references).distance
    torch.testing.assert_close(nearest_known_distance(queries, references).float(), expected)


def test_a_copy_is_at_no_distance():
    references = 1000 + with_holes(30, 1)
    assert nearest_known_distance(references[1:6], references).tolist() == [0] * 5


def test_where_nothing_is_known_in_both():
    one, other = torch.tensor([[1.0, math.nan]]), torch.tensor([[math.nan, 2.0]])
    assert nearest_known_distance(one, other).isnan().all()
    assert nearest_known_distance(one, other[:0]).isnan().all()
    with pytest.raises(ValueError, match=r"\(1, 2\) and references has \(1, 1\)"):
        nearest_known_distance(one, other[:, :1])
