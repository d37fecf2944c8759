import math

import pytest

from qahm_torch.systems import Circuits, reproduce
from qahm_torch.systems.circuit_lattice import Lattice


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(Circuits.small(), tmp_path_factory.mktemp("circuits"))


def arms(report, part, number):
    return {row["arm"]: row[number]["mean"] for row in report[part]}


def test_circuits_learn_patterns_and_stay_below_the_best(report):
    nats = arms(report, "likelihood", "nats")
    starts = [r["curve"][0] for r in report["results"] if r["part"] == "likelihood"]
    assert report["best"] > max(nats.values())
    assert min(nats.values()) > max(starts) + 1


def test_each_loss_is_best_by_its_own_measure(report):
    nats, mmd = arms(report, "losses", "nats"), arms(report, "losses", "mmd")
    assert max(nats, key=nats.get) == "likelihood"
    assert mmd["MMD, exact"] < mmd["likelihood"]
    assert mmd["MMD, readings"] < mmd["likelihood"]


def test_machines_have_each_prior(report):
    test = arms(report, "digits", "test")
    assert len(test) == 4
    # An untrained machine has the density of uniform pixels.
    assert min(test.values()) > -64 * math.log(2)


def test_the_lattice_is_learned_where_independent_spins_cannot(report):
    mmd = {name: row["mean"] for name, row in report["lattice"]["mmd"].items()}
    assert mmd["after"] < 0.2 * min(mmd["independent spins"], mmd["before"])
    assert abs(mmd["training rows"]) < 0.2 * mmd["independent spins"]
    curves = report["lattice"]["correlations"]
    assert curves["circuit"] == pytest.approx(curves["data"], abs=0.1)


def test_times_are_told(report):
    (row,) = report["time"]
    assert row["num_qubits"] == 4 and row["torch"] > 0


def test_the_headline_is_of_the_rows(report):
    nats = arms(report, "likelihood", "nats")
    assert f"RY RZ CNOT, 4 layers {nats['RY RZ CNOT, 4']:.2f}" in report["headline"]
    assert (
        f"MMD^2 of 36 qubits {report['lattice']['mmd']['after']['mean']:.1e}"
        in (report["headline"])
    )


def test_gates_of_a_lattice_are_of_each_place_once():
    lattice = Lattice(3, (2,))
    gates = [frozenset(gate) for gate in lattice.generators()]
    assert len(gates) == len(set(gates)) == 4 * 9 + 1
    pairs = {gate for gate in gates if len(gate) == 2}
    assert pairs == {frozenset(edge) for edge in lattice.graph().edges.tolist()}
    assert frozenset([8, 6, 2, 0]) in gates  # the block at the last place goes round
    assert {frozenset(row.nonzero().flatten().tolist()) for row in lattice.along_axes(1)} == pairs
