r"""What the service says, changed at random: it ends in right samples or an error of ours."""

import json
import random

import numpy as np
import pytest
from fault_answers import STEPS, fuzzed, fuzzed_opening
from fault_runs import observe
from mutations import mutation

from qahm_torch import AnnealerError
from qahm_torch.device import AnswerError
from qahm_torch.device.door import Job, checked_answer


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(6))
def test_whatever_it_says(step, seed, tmp_path):
    seen = observe(fuzzed(step, seed), tmp_path)
    assert seen.error is None or isinstance(seen.error, AnnealerError), repr(seen.error)
    assert seen.num_wrong == seen.num_wrong_archived == 0
    assert seen.billed <= 1 and seen.seconds < 3


@pytest.mark.parametrize("seed", range(40))
def test_whatever_it_says_of_its_solver(seed, tmp_path):
    seen = observe(fuzzed_opening(seed), tmp_path)
    assert seen.error is None or isinstance(seen.error, AnnealerError), repr(seen.error)
    assert seen.num_wrong == seen.num_wrong_archived == 0
    assert seen.billed <= 1 and seen.seconds < 4


def test_mutations_change_bodies_and_are_those_of_their_seed():
    body = json.dumps(
        [{"id": "a", "status": "COMPLETED", "answer": {"timing": {"x": 1}}}]
    ).encode()
    made = [mutation(body, random.Random(seed)) for seed in range(200)]
    assert made == [mutation(body, random.Random(seed)) for seed in range(200)]
    assert len(set(made) - {body}) > 150


def chain(num_spins, weakest):
    r"""Returns a job of a chain with one weak spin at its end, and an honest row of it."""
    rng = np.random.default_rng(0)
    h = rng.uniform(-1, 1, num_spins)
    J = rng.uniform(-1, 1, num_spins - 1)
    h[-1], J[-1] = weakest, 0.0
    couplers = np.stack([np.arange(num_spins - 1), np.arange(1, num_spins)], 1)
    job = Job(np.arange(num_spins), h, couplers, J, 1, {}, "label")
    spins = rng.choice([-1, 1], (1, num_spins)).astype(np.int8)
    return job, spins


def answered(job, spins, energies):
    return checked_answer(job, job.qubits, spins, energies, None, "id", {})


def test_a_weak_spin_that_was_flipped_is_found_on_a_large_problem():
    job, spins = chain(2000, weakest=1e-5)
    energies = job.energies(spins)
    assert (answered(job, spins, energies).spins == spins).all()
    flipped = spins.copy()
    flipped[0, -1] *= -1
    with pytest.raises(AnswerError, match="energies are off"):
        answered(job, flipped, energies)


def test_sums_in_another_order_are_no_damage():
    job, spins = chain(5000, weakest=0.5)
    i, j = job.couplers.T
    terms = np.concatenate([job.h * spins[0], job.J * spins[0, i] * spins[0, j]])
    answered(job, spins, np.array([np.random.default_rng(1).permutation(terms).sum()]))
