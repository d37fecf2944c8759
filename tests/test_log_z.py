import math

import pytest
import torch
from models import random_ising

from qahm_torch import CouplingGraph
from qahm_torch.ising import exact_log_partition
from qahm_torch.samplers import annealed_log_z, estimate_log_z, exact_log_z

FAST = {"num_chains": 256, "num_temperatures": 100}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_brackets_hold_the_exact_value_up_to_glassy_couplings():
    hits = 0
    for k in range(20):
        # Standard deviations of 0.1 to 1 are from hot to deep in the glass at these sizes.
        graph = CouplingGraph.complete(16 + k % 5)
        ising = random_ising(graph, [0.1, 0.3, 0.6, 1.0][k % 4], seed=k)
        bracket = annealed_log_z(ising, generator=seeded(k), **FAST)
        assert bracket.lower <= bracket.value <= bracket.upper
        hits += bracket.lower <= exact_log_z(ising) <= bracket.upper
    assert hits >= 18


def test_twin_of_a_hotter_model_is_outside():
    ising = random_ising(CouplingGraph.complete(16), 0.3, seed=1)
    bracket = annealed_log_z(ising.scaled(0.8), generator=seeded(1), **FAST)
    assert not bracket.lower <= exact_log_z(ising) <= bracket.upper


def test_sparse_path_agrees_with_the_tree_decomposition():
    graph = CouplingGraph(260, [(i, i + 1) for i in range(259)])
    ising = random_ising(graph, 0.5)
    exact = exact_log_z(ising)
    bracket = annealed_log_z(ising, generator=seeded(0), **FAST)
    assert bracket.lower - 0.05 <= exact <= bracket.upper + 0.05


def test_exact_by_treewidth_equals_enumeration():
    ising = random_ising(CouplingGraph(18, [(i, (i + 1) % 18) for i in range(18)]))
    wide = random_ising(CouplingGraph(21, ising.graph.edges))
    wide.h[:18], wide.h[18:] = ising.h, 0
    wide.J.copy_(ising.J)
    expected = exact_log_partition(ising).item() + 3 * math.log(2)
    assert exact_log_z(wide) == pytest.approx(expected, abs=1e-6)


def test_too_large_and_entangled_has_no_exact_value():
    ising = random_ising(CouplingGraph.complete(24), 0.1)
    assert exact_log_z(ising) is None
    estimate = estimate_log_z(ising, generator=seeded(0), **FAST)
    assert estimate.lower < estimate.value < estimate.upper and estimate.stderr > 0


def test_exact_values_have_no_error():
    ising = random_ising(CouplingGraph.complete(5), gamma=0.5)
    value = exact_log_partition(ising).item()
    assert estimate_log_z(ising) == pytest.approx((value, value, value, 0.0))


def test_golden_thompson_interval_holds_a_value_that_can_be_checked():
    # 13 spins without couplings: too many to diagonalize together, exact one by one.
    ising = random_ising(CouplingGraph(13, []), 0.7, gamma=0.8)
    exact = torch.log(2 * torch.cosh((ising.h**2 + 0.8**2).sqrt())).sum().item()
    estimate = estimate_log_z(ising)
    assert estimate.lower < exact < estimate.upper
    assert estimate.lower < estimate.value < estimate.upper


def test_bad_settings_are_named():
    ising = random_ising(CouplingGraph.complete(3))
    with pytest.raises(ValueError, match="1 chains and 50 temperatures"):
        annealed_log_z(ising, num_chains=1, num_temperatures=50)
    ising.J[0] = torch.inf
    with pytest.raises(ValueError, match=r"J\[0\] is inf"):
        estimate_log_z(ising)
