import dimod
import numpy as np
import pytest
import torch
from models import random_ising

from qahm_torch import CouplingGraph, DimodSampler

GRAPH = CouplingGraph(3, [(0, 1), (1, 2)], labels=["a", "b", "c"])


class Canned(dimod.Sampler):
    r"""Answers with given rows, and remembers what it was asked."""

    properties: dict = {}
    parameters = {"num_reads": [], "seed": []}

    def __init__(self, rows, labels, num_occurrences=None, vartype="SPIN"):
        self.rows, self.labels, self.vartype = np.array(rows, ndmin=2), labels, vartype
        self.num_occurrences = num_occurrences
        self.asked = []

    def sample(self, bqm, **kwargs):
        self.asked.append((bqm, kwargs))
        return dimod.SampleSet.from_samples(
            (self.rows, self.labels),
            vartype=self.vartype,
            energy=np.zeros(len(self.rows)),
            num_occurrences=self.num_occurrences,
            info={"timing": {"qpu_access_time": 7}},
        )


def test_columns_are_named_and_rows_repeated():
    child = Canned([[1, -1, 1], [-1, -1, 1]], ["c", "a", "b"], [3, 1])
    samples = DimodSampler(child).sample(random_ising(GRAPH), 4)
    assert samples.spins.tolist() == [[-1, 1, 1]] * 3 + [[-1, 1, -1]]
    assert samples.info["answer"]["timing"] == {"qpu_access_time": 7}


def test_bits_of_a_binary_answer_become_spins():
    child = Canned([[1, 0, 1]], ["a", "b", "c"], vartype="BINARY")
    assert DimodSampler(child).sample(random_ising(GRAPH), 1).spins.tolist() == [[1, -1, 1]]


def test_model_is_divided_by_beta():
    child = Canned([[1, 1, 1]], ["a", "b", "c"])
    ising = random_ising(GRAPH)
    DimodSampler(child, beta=4.0).sample(ising, 1)
    bqm, _ = child.asked[0]
    assert bqm.linear["b"] == pytest.approx(float(ising.h[1]) / 4)
    assert bqm.quadratic["b", "c"] == pytest.approx(float(ising.J[1]) / 4)


def test_reads_and_new_seeds_are_passed_on():
    child = Canned([[1, 1, 1]], ["a", "b", "c"])
    sampler = DimodSampler(child)
    sampler.sample(random_ising(GRAPH), 5)
    sampler.sample(random_ising(GRAPH), 5)
    (_, first), (_, second) = child.asked
    assert first["num_reads"] == 5 and first["seed"] != second["seed"]
    DimodSampler(child, num_reads=9, seed=3).sample(random_ising(GRAPH), 5)
    assert child.asked[-1][1] == {"num_reads": 9, "seed": 3}


def test_clamped_spins_are_not_in_the_model():
    child = Canned([[1, -1]], ["c", "a"])
    clamp = torch.tensor([0.0, -1.0, 0.0])
    samples = DimodSampler(child).sample(random_ising(GRAPH), 1, clamp=clamp)
    assert set(child.asked[0][0].variables) == {"a", "c"}
    assert samples.spins.tolist() == [[-1, -1, 1]]


def test_submission_does_not_wait():
    waiting = []

    class Future(Canned):
        def sample(self, bqm, **kwargs):
            class Answer:
                def result(self):
                    waiting.append(1)
                    return dimod.SampleSet.from_samples(
                        ([[1, 1, 1]], ["a", "b", "c"]), vartype="SPIN", energy=0
                    )

            return dimod.SampleSet.from_future(Answer(), lambda answer: answer.result())

    submission = DimodSampler(Future([[1, 1, 1]], "abc")).submit(random_ising(GRAPH), 1)
    assert not waiting
    assert submission.result().spins.shape == (1, 3) and waiting


@pytest.mark.parametrize(
    ("child", "message"),
    [
        (Canned([[1, 1]], ["a", "b"]), r"other variables than the model's 3; \['c'\]"),
        (Canned(np.empty((0, 3)), ["a", "b", "c"]), "no rows"),
    ],
)
def test_bad_answers_are_refused(child, message):
    with pytest.raises(ValueError, match=message):
        DimodSampler(child).sample(random_ising(GRAPH), 2)


def test_clamped_rows_need_as_many_answers_as_asked():
    child = Canned([[1, -1]], ["c", "a"])
    clamp = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match="1 rows where 2 were asked for"):
        DimodSampler(child).sample(random_ising(GRAPH), 3, clamp=clamp)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"beta is 0\.0"):
        DimodSampler(dimod.ExactSolver(), beta=0.0)
    with pytest.raises(ValueError, match="no parameter 'num_sweep'"):
        DimodSampler(Canned([[1]], ["a"]), num_sweep=3)
