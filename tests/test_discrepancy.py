import pytest
import torch

from qahm_torch import (
    GaussianKernel,
    QuantumPriorLayer,
    kl_divergence,
    maximum_mean_discrepancy,
)
from qahm_torch.ising import all_states, exact_log_probs


def machine():
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4).double()
    with torch.no_grad():
        layer.h.normal_(), layer.J.normal_()
    layer.estimate_log_z()
    return layer


def test_its_mean_over_draws_is_the_divergence():
    layer, log_odds = machine(), torch.randn(3, 4, dtype=torch.float64)
    states = all_states(4)
    p = exact_log_probs(layer.ising().detach())
    for row in log_odds:
        q = torch.nn.functional.logsigmoid(row * states).sum(-1)
        draws = states.unsqueeze(1)  # each state once, and weighed by q below
        each = torch.stack([kl_divergence(row.unsqueeze(0), u, layer)[0] for u in draws])
        torch.testing.assert_close((q.exp() * each).sum(), (q.exp() * (q - p)).sum())


def test_many_draws_count_by_their_mean():
    layer = machine()
    log_odds, spins = torch.randn(5, 4).double(), torch.ones(2, 5, 4).double()
    spins[1] *= -1
    both = kl_divergence(log_odds, spins, layer)
    torch.testing.assert_close(both, sum(kl_divergence(log_odds, u, layer) for u in spins) / 2)


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"spins have shape \(5, 4\) and log_odds \(4,\)"):
        kl_divergence(torch.zeros(4), torch.ones(5, 4), QuantumPriorLayer(4))


def test_discrepancy_is_without_bias():
    torch.manual_seed(0)
    same = [maximum_mean_discrepancy(*torch.randn(2, 20, 3)) for _ in range(400)]
    values = torch.stack(same)
    assert values.mean().abs() < 4 * values.std() / 400**0.5
    x, y = torch.randn(200, 3), torch.randn(200, 3) + 1
    assert maximum_mean_discrepancy(x, y) > 20 * values.std() / 10


def test_a_linear_kernel_gives_the_distance_of_means():
    torch.manual_seed(0)
    x, y = torch.randn(2000, 2) + torch.tensor([3.0, 0.0]), torch.randn(2000, 2)
    value = maximum_mean_discrepancy(x, y, lambda a, b: a @ b.T)
    assert value.item() == pytest.approx(9, abs=0.5)


def test_a_gradient_brings_samples_together():
    torch.manual_seed(0)
    shift = torch.tensor(2.0, requires_grad=True)
    kernel = GaussianKernel([0.5, 2.0])
    maximum_mean_discrepancy(torch.randn(100, 2) + shift, torch.randn(100, 2), kernel).backward()
    assert shift.grad > 0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 1), r"shapes \(3, 2\) and \(3, 1\)"),
        (torch.zeros(1, 2), torch.zeros(3, 2), "1 and 3 rows"),
    ],
)
def test_samples_that_cannot_be_compared(x, y, message):
    with pytest.raises(ValueError, match=message):
        maximum_mean_discrepancy(x, y)


def test_widths_are_positive():
    with pytest.raises(ValueError, match=r"widths are \[1\.0, 0\.0\]"):
        GaussianKernel([1.0, 0.0])
