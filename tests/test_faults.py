r"""Faults of the service, the network and the client: each ends in samples or in an error."""

import pickle
import re

import pytest
from fault_cases import CASES, DEADLINE, READS, SLACK, observe

from qahm_torch import AnnealerError

ADVICE = re.compile(r"`recover`|try again|[Tt]ry again|check|change|cancelled|put the|lists|not opened")


def assert_tells_without_secrets(error):
    assert isinstance(error, AnnealerError), repr(error)
    assert ADVICE.search(str(error)), str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and copy.args == error.args
    assert copy.problem_id == error.problem_id and copy.may_have_run == error.may_have_run
    seen = error
    while seen is not None:
        assert isinstance(seen, AnnealerError) and not hasattr(seen, "request")
        seen = seen.__cause__ or seen.__context__


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, tmp_path):
    seen = observe(case, tmp_path)
    if seen.error is not None:
        assert_tells_without_secrets(seen.error)
        assert case.says in str(seen.error)
    assert seen.outcome == case.outcome
    assert seen.seconds < case.policy.timeout + SLACK
    assert seen.billed == case.billed
    assert seen.samples is None or len(seen.samples.spins) == READS
    assert seen.num_wrong == seen.num_wrong_archived == 0
    assert seen.booked >= seen.cost - 1e-9
    assert not seen.unpaid
