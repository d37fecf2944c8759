r"""The account of QPU time, and what a problem is estimated to cost."""

import math

import pytest
from dwave.cloud.solver import StructuredSolver
from dwave.cloud.testing import mocks
from dwave.system.testing import MockDWaveSampler

from qahm_torch.annealer import AnnealSettings, TimeAccount
from qahm_torch.annealer.account import estimate_access_time, estimate_submission
from qahm_torch.device import BudgetError, Chip, LedgerError


def test_time_is_held_then_charged():
    account = TimeAccount(budget=1.0)
    account.hold("a", 0.5)
    assert account.spent == 0.5 and account.left == 0.5
    account.charge("a", 0.2, num_reads=10)
    assert account.spent == 0.2 and (account.num_problems, account.num_reads) == (1, 10)


def test_what_may_have_run_stays_in_the_account():
    account = TimeAccount()
    for label, may_have_run in (("a", True), ("b", False)):
        account.hold(label, 0.5)
        account.give_up(label, may_have_run)
    account.hold("c", 0.25)
    account.charge("c", None, 1)
    assert account.measured == 0 and account.unconfirmed == 0.75 and account.left == math.inf
    account.confirm("a", 0.5, 0.4, 1)
    assert account.measured == 0.4 and account.unconfirmed == 0.25


def test_budget_is_kept_before_it_is_exceeded():
    account = TimeAccount(budget=1.0)
    account.hold("a", 0.7)
    account.check(0.3)
    with pytest.raises(BudgetError, match=r"0\.4 s of QPU time, and 0\.3 s are left"):
        account.check(0.4)


def test_account_goes_on_after_a_resume():
    account = TimeAccount(budget=2.0)
    account.hold("a", 0.5)
    account.charge("a", 0.5, 100)
    account.hold("under way", 0.25)
    copy = TimeAccount(budget=2.0)
    copy.load_state_dict(account.state_dict())
    assert copy.spent == 0.75 and copy.left == 1.25 and copy.num_reads == 100
    assert copy.id == account.id
    copy.give_up("under way", may_have_run=False)
    assert copy.spent == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, "1", None, True])
@pytest.mark.parametrize("name", ["measured", "unconfirmed", "num_problems", "num_reads"])
def test_an_entry_that_would_turn_the_budget_off_is_refused(name, value):
    state = {**TimeAccount().state_dict(), name: value}
    with pytest.raises(LedgerError, match=f"{name} = {value!r}"):
        TimeAccount(budget=1.0).load_state_dict(state)


def test_what_never_ran_is_released_once():
    account = TimeAccount()
    account.hold("a", 0.5)
    account.give_up("a", may_have_run=True)
    assert account.spent == 0.5
    for _ in range(2):
        account.give_up("a", may_have_run=False)
    assert account.spent == 0


def test_a_budget_is_not_negative():
    with pytest.raises(ValueError, match="budget is -1"):
        TimeAccount(budget=-1)


# The time of a problem


def device(**properties):
    return MockDWaveSampler(topology_type="pegasus", topology_shape=[4], properties=properties)


@pytest.mark.parametrize("kind", ["advantage", "2000q"])
@pytest.mark.parametrize(
    "submission",
    [
        {},
        {"annealing_time": 100.0},
        {"programming_thermalization": 10.0, "readout_thermalization": 50.0},
        {"reduce_intersample_correlation": True},
        {"anneal_schedule": [(0.0, 0.0), (50.0, 1.0)]},
    ],
)
def test_the_time_is_the_clients(kind, submission):
    timing = mocks.qpu_problem_timing_data(kind)
    data = mocks.qpu_pegasus_solver_data(2, problem_timing_data=timing)
    theirs = StructuredSolver(client=None, data=data).estimate_qpu_access_time(
        400, 1000, **submission
    )
    chip = Chip.of(device(problem_timing_data=timing))
    assert estimate_access_time(chip, 400, 1000, **submission) == pytest.approx(theirs * 1e-6)


def test_a_reverse_anneal_costs_what_its_model_says():
    timing = mocks.qpu_problem_timing_data("2000q")
    chip = Chip.of(device(problem_timing_data=timing))
    forward = estimate_access_time(chip, 400, 10, anneal_schedule=[(0, 0), (20, 1)])
    schedule = [(0, 1), (10, 0.5), (20, 1)]
    reverse = estimate_access_time(chip, 400, 10, anneal_schedule=schedule)
    delta = timing["reverse_annealing_with_reinit_delay_time_delta"]
    assert reverse - forward == pytest.approx(10 * delta * 1e-6)


def test_a_thermalization_of_zero_is_not_the_default():
    chip = Chip.of(device(problem_timing_data=mocks.qpu_problem_timing_data()))
    wait = estimate_access_time(chip, 10) - estimate_access_time(
        chip, 10, programming_thermalization=0
    )
    assert wait == pytest.approx(1e-3)


def test_a_device_without_timing_data_has_no_estimate():
    assert estimate_access_time(Chip.of(device(problem_timing_data=None)), 10) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_qubits": 0}, "num_qubits is 0"),
        ({"num_qubits": 5, "annealing_time": 0.0}, "annealing_time is 0.0"),
    ],
)
def test_impossible_problems_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_access_time(Chip.of(device()), **arguments)


def test_a_submission_costs_what_its_parameters_cost():
    chip = Chip.of(device(problem_timing_data=mocks.qpu_problem_timing_data("2000q")))
    settings = AnnealSettings(
        anneal_schedule=[[0, 1], [10, 0.5], [20, 1]],
        reinitialize_state=False,
        programming_thermalization=5.0,
        readout_thermalization=70.0,
        reduce_intersample_correlation=True,
    )
    parameters = {**settings.parameters(), "auto_scale": False, "initial_state": {0: 1}}
    whole = estimate_submission(chip, 400, 100, parameters)
    assert whole == estimate_access_time(chip, 400, 100, **settings.parameters())
    plain = estimate_submission(chip, 400, 100, {"auto_scale": False})
    schedule = {"anneal_schedule": parameters["anneal_schedule"]}
    for name, value in settings.parameters().items():
        alone = estimate_submission(chip, 400, 100, {**schedule, name: value})
        reverse = estimate_submission(chip, 400, 100, schedule)
        assert alone != (plain if name == "anneal_schedule" else reverse), name
