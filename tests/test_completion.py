import math

import pytest
import torch

from qahm_torch import (
    BeliefNetwork,
    ContinuousSpins,
    HelmholtzMachine,
    MixedUnits,
    NormalUnits,
    QuantumPriorLayer,
    Spins,
)
from qahm_torch.evaluation import complete, completion_error
from qahm_torch.ising import all_states
from qahm_torch.nn import Flagged


def machine_of(output=None, recognition=None):
    network = recognition or BeliefNetwork([4, 3])
    machine = HelmholtzMachine(
        network, BeliefNetwork([3, 4], output=output), QuantumPriorLayer(3)
    ).double()
    for name, parameter in machine.named_parameters():
        # Proposals near to uniform, so that few particles are enough, and units that go together.
        std = 0.1 if "recognition" in name else 1.0 if name.endswith("weight") else 0.2
        torch.nn.init.normal_(parameter, std=std)
    machine.prior.estimate_log_z()
    return machine


def exact_mean(machine, row):
    r"""Returns the mean of visible spins given the known ones, by enumeration."""
    v, u = all_states(4).double(), all_states(3).double()
    joint = machine.log_joint([v[:, None].expand(16, 8, 4), u.expand(16, 8, 3)]).exp().sum(1)
    known = ~row.isnan()
    weights = joint * (v[:, known] == row[known]).all(-1)
    return (weights / weights.sum()) @ v


ROW = torch.tensor([1.0, math.nan, -1.0, math.nan], dtype=torch.float64)


@pytest.mark.parametrize("flagged", [False, True])
def test_means_and_draws_are_those_of_the_conditional(flagged):
    recognition = Flagged(BeliefNetwork([8, 3])) if flagged else None
    machine = machine_of(recognition=recognition)
    exact = exact_mean(machine, ROW).detach()
    completion = complete(machine, ROW.expand(2000, 4), 1000)
    error = completion.mean - exact
    assert error.mean(0).abs().max() < 0.03
    assert (completion.draw[:, 0] == 1).all() and (completion.draw[:, 2] == -1).all()
    spread = ((1 - exact.square()) / 2000).sqrt().clamp(min=1e-9)
    assert ((completion.draw.mean(0) - exact).abs() < 5 * spread).all()
    # What is known counts: without it the means are others, so that this could fail.
    assert (exact_mean(machine, torch.full_like(ROW, math.nan)) - exact)[1::2].abs().max() > 0.05


def test_mixed_units_are_filled_in_by_their_means():
    output = MixedUnits([NormalUnits(1), Spins(1), Spins(1), Spins(1)])
    machine = machine_of(output, Flagged(BeliefNetwork([8, 3])))
    rows = ROW.expand(5, 4)
    completion = complete(machine, rows, 20)
    assert completion.draw is None and completion.mean.isfinite().all()
    assert torch.equal(completion.mean[:, ::2], rows[:, ::2])


def test_complete_rows_remain():
    machine, rows = machine_of(ContinuousSpins(4)), torch.rand(3, 4).double()
    assert torch.equal(complete(machine, rows, 3).mean, rows)
    with pytest.raises(ValueError, match="num_particles is 0"):
        complete(machine, rows, 0)


def test_errors_are_over_hidden_units_that_are_known():
    true = torch.tensor([[1.0, -1.0, math.nan], [0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
    hidden = torch.tensor([[True, False, True], [True, True, False], [False, False, True]])
    completed = torch.where(hidden, 0.5, true)
    error = completion_error(true, hidden, completed, torch.zeros(3))
    assert error.num_hidden == 4
    assert error.machine == pytest.approx((0.25 + 0.25 + 0 + 0.25) / 4)
    assert error.baseline == pytest.approx((1 + 0 + 0.25 + 1) / 4)
    with pytest.raises(ValueError, match="no known unit was hidden"):
        completion_error(true, torch.zeros_like(hidden), completed, torch.zeros(3))


def test_the_standard_error_is_the_spread_of_the_mean():
    errors, told = [], []
    for _ in range(300):
        # Units of a row err together, and rows hide different numbers of units.
        true = torch.randn(100, 1).expand(100, 6)
        hidden = torch.rand(100, 6) < torch.rand(100, 1)
        error = completion_error(true, hidden, torch.zeros(100, 6), torch.zeros(6))
        errors.append(error.machine)
        told.append(error.machine_stderr)
    spread = torch.tensor(errors).std()
    assert abs(torch.tensor(told).mean() / spread - 1) < 0.2
    one = completion_error(true[:1], torch.ones(1, 6).bool(), torch.zeros(1, 6), torch.zeros(6))
    assert math.isnan(one.machine_stderr)
