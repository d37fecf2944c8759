import pytest
import torch

from qahm_torch import Ising
from qahm_torch.ising import agreement, all_states
from qahm_torch.systems import GradientProxy, reproduce
from qahm_torch.systems.small_chip import SmallChip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(GradientProxy.small(), tmp_path_factory.mktemp("gradient_proxy"))


def row(report, arm, strength):
    (found,) = (r for r in report["rows"] if (r["arm"], r["strength"]) == (arm, strength))
    return found


def test_without_errors_all_arms_come_near_the_best_machine(report):
    for arm in ("raw", "flip", "mix", "raw, gauges"):
        assert 0 < row(report, arm, 0.0)["nats"] - report["best"] < 0.2


def test_lasting_errors_spoil_the_raw_gradient_and_the_rules_mend_it(report):
    raw, flip, signs, mix = (row(report, a, 0.4)["nats"] for a in ("raw", "flip", "signs", "mix"))
    assert raw > flip + 1
    assert flip > max(signs, mix) + 1
    assert mix < report["best"] + 0.3


def test_the_weight_of_the_device_is_that_of_its_reads_or_none(report):
    assert row(report, "mix", 0.0)["weight"] > 0.6
    assert row(report, "mix", 0.4)["weight"] < 0.05


def test_a_gray_box_is_judged_by_its_own_law(report):
    embedded = row(report, "embedded", 0.4)
    assert embedded["device_nats"] < report["best"] + 1
    assert embedded["nats"] > report["best"] + 5


def test_all_lies_are_caught_and_nothing_else(report):
    assert report["lies"] == {"told": 8, "caught": 8, "honest": 52, "false_alarms": 0}
    assert row(report, "lies, replaced", 0.0)["nats"] < row(report, "lies", 0.0)["nats"]


def test_the_headline_is_of_the_rows(report):
    assert (
        f"reference alone {row(report, 'reference alone', 0.0)['nats']:.2f}"
        in (report["headline"])
    )


@pytest.fixture(scope="module")
def chip():
    return SmallChip(17, beta=3.0, strength=0.1, seed=1)


@pytest.mark.filterwarnings("ignore::qahm_torch.AnnealerWarning")
def test_the_law_of_the_device_is_that_of_its_samples(chip):
    generator = torch.Generator().manual_seed(0)
    graph = chip.graph
    h, J = (0.2 * torch.randn(n, generator=generator) for n in (16, graph.num_edges))
    machine = Ising(graph, h, J)
    spins = chip.sampler().sample(machine, 2000, generator=generator).spins
    states = all_states(16, torch.float32)
    draws = [_draws(chip, chip.programmed(m), states, generator) for m in (machine, _off(machine))]
    assert agreement(graph, spins, draws[0]).p_value > 1e-3
    assert agreement(graph, spins, draws[1]).p_value < 1e-6


def _off(machine):
    return Ising(machine.graph, machine.h, 0.5 * machine.J)


def _draws(chip, prior, states, generator):
    law = chip.law(prior).logical_log_prob(states).exp()
    return states[torch.multinomial(law, 2000, replacement=True, generator=generator)]


def test_a_chip_that_cannot_be_enumerated_is_refused():
    with pytest.raises(ValueError, match="num_qubits is 21"):
        SmallChip(21, beta=3.0)
