r"""Faults of the service, the network and the client: each ends in samples or in an error."""

import os
import pickle
import re
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from cloud_service import CloudService, scrub_environment
from dwave.system import DWaveSampler
from fault_cases import CASES
from fault_runs import READS, TOKEN, Case, observe
from small_runs import digits, quiet_trainer, small_machine

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    Fallback,
    FallbackWarning,
    GibbsSampler,
    RetryPolicy,
    TrackingSettings,
    WakeSleep,
)
from qahm_torch.device import ServiceError
from qahm_torch.training import CheckpointOnException, MachineModule, read_checkpoint

ADVICE = re.compile(r"`recover`|[Tt]ry again|check|change|was cancelled|put the|`dwave solvers`")


def test_table_is_large_and_its_names_are_its_own():
    names = [case.name for case in CASES]
    assert len(names) >= 70 and len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, tmp_path):
    seen = observe(case, tmp_path / "first")
    if seen.outcome in ("DeadlineError", "DeviceOfflineError") and seen.outcome != case.outcome:
        # A machine too busy for the deadline says nothing of the fault.
        seen = observe(replace(case, patience=5.0), tmp_path / "second")
    if seen.error is not None:
        assert_tells_without_secrets(seen.error)
        assert case.says in str(seen.error)
    assert seen.outcome == case.outcome
    assert seen.billed == case.billed
    assert seen.samples is None or len(seen.samples.spins) == READS
    assert seen.num_wrong == seen.num_wrong_archived == 0
    assert seen.booked >= seen.cost - 1e-9
    assert not seen.unpaid
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)


def test_samples_that_the_qpu_did_not_draw_would_be_counted(tmp_path):
    # The twin of the test above.
    def tell_another_truth(service, device):
        truth = service.samples_of
        service.samples_of = lambda problem_id: _flipped(truth(problem_id))

    seen = observe(Case("another truth", prepare=tell_another_truth), tmp_path)
    assert seen.num_wrong == seen.num_wrong_archived == READS


def _flipped(sampleset):
    sampleset.record.sample *= -1
    return sampleset


def assert_tells_without_secrets(error):
    assert isinstance(error, AnnealerError), repr(error)
    assert ADVICE.search(str(error)), str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and copy.args == error.args
    assert (copy.problem_id, copy.may_have_run) == (error.problem_id, error.may_have_run)
    assert TOKEN.encode() not in pickle.dumps(error)
    assert TOKEN not in repr(error) + "".join(traceback.format_exception(error))
    seen = error
    while seen is not None:
        assert isinstance(seen, AnnealerError) and not hasattr(seen, "request")
        seen = seen.__cause__ or seen.__context__


# A process that forks.

FORK = r"""
import os, sys
from dwave.system import DWaveSampler
from cloud_service import within
from fault_runs import native_model
from qahm_torch import AnnealerError, AnnealerSampler, RetryPolicy

endpoint, token = sys.argv[1:]
device = DWaveSampler(endpoint=endpoint, token=token, config_file=False, cache_enabled=False)
sampler = AnnealerSampler(device, beta=1.0, policy=RetryPolicy(timeout=5, request_timeout=1))
ising = native_model(sampler.chip)
sampler.sample(ising, 10)
before = sampler.submit(ising, 10)
child = os.fork()
try:
    assert len(within(10, sampler.sample, ising, 10).spins) == 10
    if child:
        assert len(before.result().spins) == 10
    else:
        # What the parent waits for, the child cannot have.
        try:
            within(10, before.result)
        except AnnealerError as error:
            print("child:", error, flush=True)
finally:
    if not child:
        os._exit(0)
_, status = os.waitpid(child, 0)
print("parent:", status, flush=True)
"""


def test_forked_process_gets_answers_of_its_own():
    with CloudService(shape=[2], latency=0.2) as service:
        environment = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
        environment |= {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(
            [sys.executable, "-c", FORK, service.endpoint, service.token],
            cwd=Path(__file__).parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert answer.returncode == 0, answer.stderr
        assert "child: the device did not answer" in answer.stdout
        assert "parent: 0" in answer.stdout and "Error" not in answer.stderr
        assert service.billed_jobs() == 4


# Training.

NUM_GOOD = 5  # updates before the device fails


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    with CloudService(shape=[2]) as service:
        yield service


def module_on(service, other=None):
    policy = RetryPolicy(timeout=2, request_timeout=1, retries=1, backoff=0.01, settle=0.05)
    device, tracking = (
        DWaveSampler(**service.client_options()),
        TrackingSettings(misfit_tolerance=9),
    )
    sampler = AnnealerSampler(device, beta=2.0, policy=policy, tracking=tracking)
    sampler = Fallback(sampler, other, cooldown=600) if other else sampler
    return MachineModule(small_machine(sampler), WakeSleep())


def trainer_in(folder):
    return quiet_trainer(folder, max_epochs=2, callbacks=[CheckpointOnException()])


def test_training_goes_on_with_the_fallback(service, tmp_path):
    service.fault("submit", "status", times=None, after=NUM_GOOD, code=503)
    module, trainer = module_on(service, GibbsSampler(2)), trainer_in(tmp_path)
    with pytest.warns(FallbackWarning) as caught:
        trainer.fit(module, digits())
    (warning,) = (w for w in caught if w.category is FallbackWarning)
    assert re.match("GibbsSampler stands in: .* status 503", str(warning.message))
    assert trainer.global_step == 8 and service.billed_jobs() == NUM_GOOD
    assert module.negative.info["fallback"] == "the sampler rests after a failure"


def test_training_that_stops_is_resumed(service, tmp_path):
    service.fault("submit", "status", times=None, after=NUM_GOOD, code=503)
    trainer = trainer_in(tmp_path / "first")
    with pytest.raises(ServiceError, match="status 503"):
        trainer.fit(module_on(service), digits())
    checkpoint = Path(trainer.log_dir) / "checkpoints" / "on_exception.ckpt"
    assert read_checkpoint(checkpoint)["global_step"] == NUM_GOOD
    service.clear_faults()
    module, again = module_on(service), trainer_in(tmp_path / "second")
    again.fit(module, digits(), ckpt_path=checkpoint, weights_only=True)
    # Lightning leaves out the batch that failed.
    assert again.global_step == 7 and again.current_epoch == 2
    account = module.prior.sampler.account
    assert account.num_problems == service.billed_jobs() == 7
    assert account.unconfirmed == 0
