r"""Machines of one graph with a row of fields each, in one model or in several."""

import pytest
import torch
from models import F64, seeded

from qahm_torch import (
    CouplingGraph,
    Ising,
    Sampler,
    Samples,
    exact_log_partition,
    exact_moments,
)
from qahm_torch.priors.field_rows import FieldRows, RowMoments
from qahm_torch.priors.row_sampling import DigitalFields, Repeats, SideBySide, annealed_row_log_z

GRAPH = CouplingGraph(4, [(0, 1), (2, 1), (3, 2)])


def rows_of(count=5, scale=1.0):
    generator = seeded(1)
    fields = scale * torch.randn(count, 4, generator=generator, dtype=F64)
    return FieldRows(GRAPH, fields, torch.randn(3, generator=generator, dtype=F64))


class Shown(Sampler):
    r"""Shows the fields of a model in the place of spins."""

    def _sample(self, ising, num_samples, **settings):
        return Samples(ising.h.expand(num_samples, -1))


def isings(rows):
    return [Ising(rows.graph, h, rows.J) for h in rows.fields]


def test_repeats_find_the_rows_that_are_the_same():
    table = torch.tensor([[3, 1], [0, 2], [3, 1], [3, 1], [1, 1]])
    repeats = Repeats.of(table)
    assert repeats.most == 3 and len(repeats.first) == 3
    assert torch.equal(table[repeats.first][repeats.kind], table)
    assert repeats.rank.tolist() == [0, 0, 1, 2, 0]


def test_enumeration_is_that_of_each_machine():
    rows = rows_of()
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=F64)
    exact = [exact_moments(ising) for ising in isings(rows)]
    found = rows.moments(weights)
    log_z = torch.stack([exact_log_partition(ising) for ising in isings(rows)])
    torch.testing.assert_close(rows.log_z(), log_z)
    torch.testing.assert_close(rows.log_probs().logsumexp(-1), torch.zeros(5, dtype=F64))
    mean = torch.stack([w * m.mean for w, m in zip(weights, exact, strict=True)])
    torch.testing.assert_close(found.mean, mean)
    pairs = torch.stack([m.correlation for m in exact])
    torch.testing.assert_close(found.correlation, weights @ pairs)


def test_sampled_moments_are_those_of_the_samples():
    rows = rows_of(2)
    spins = rows.draws(50_000, seeded())
    weights = torch.tensor([1.0, -2.0], dtype=F64)
    found, exact = RowMoments.of(rows, spins, weights), rows.moments(weights)
    for sampled, right in zip(found, exact, strict=True):
        torch.testing.assert_close(sampled, right, atol=5 * 3 / 50_000**0.5, rtol=0)
    assert (found.mean - exact.mean.flip(0)).abs().max() > 0.1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 0.0])
def test_digits_hold_the_fields(scale):
    rows = rows_of(scale=scale)
    ising, clamp = DigitalFields(GRAPH).model(rows)
    assert (clamp[:, :4] == 0).all() and (clamp[:, 4:].abs() == 1).all()
    written = ising.fields(clamp)[:, :4]
    error = (written - rows.fields).abs().max()
    bound = rows.fields.abs().max() * 2**-16
    assert bound / 100 <= error <= bound * (1 + 1e-9) + 1e-300
    torch.testing.assert_close(ising.J[:3], rows.J)


def test_annealing_estimates_each_log_z_from_below():
    rows = rows_of()
    short, long = (
        annealed_row_log_z(rows, DigitalFields(GRAPH), chains, temperatures, seeded())
        for chains, temperatures in ((2, 3), (2000, 100))
    )
    torch.testing.assert_close(long, rows.log_z(), atol=0.03, rtol=0)
    assert (short - rows.log_z()).mean() < -0.03


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_machines_side_by_side_are_those_of_the_rows(number):
    rows = rows_of()
    J = rows.J.expand(5, -1)
    spins, weights = SideBySide(GRAPH, number).draws(rows.fields, J, Shown(), 3)
    assert weights is None
    assert spins.shape == (3, 5, 4)
    torch.testing.assert_close(spins, rows.fields.expand(3, 5, 4))


def test_models_side_by_side_have_the_energy_of_all():
    rows, spins = rows_of(), torch.randint(0, 2, (5, 4), generator=seeded()) * 2.0 - 1
    together = Ising(SideBySide(GRAPH, 5).graph, rows.fields.flatten(), rows.J.repeat(5))
    apart = torch.stack([ising.energy(s) for ising, s in zip(isings(rows), spins, strict=True)])
    torch.testing.assert_close(together.energy(spins.flatten()), apart.sum())
    torch.testing.assert_close(rows.energy(spins), apart)
