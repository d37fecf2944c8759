r"""Recoveries at the same time: each answer is fetched once and booked once."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cloud_service import CloudService, scrub_environment, within
from dwave.system import DWaveSampler
from fault_runs import READS, native_model

from qahm_torch import AnnealerError, AnnealerSampler, ProgramSettings, ReplaySampler, RetryPolicy
from qahm_torch.annealer import AnswerArchive
from qahm_torch.annealer.locks import held_elsewhere, locked

DEADLINE = 60  # seconds
NUM_LOST = 4
PATIENT = RetryPolicy(timeout=20, request_timeout=5, retries=1, backoff=0.01, settle=0.05)


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    with CloudService(topology="pegasus", shape=[2]) as service:
        yield service


def annealer(service, folder):
    device = within(DEADLINE, DWaveSampler, **service.client_options())
    programming = ProgramSettings(num_gauges=0)
    return AnnealerSampler(
        device, beta=1.0, policy=PATIENT, programming=programming, archive=folder
    )


def lose(service, sampler):
    r"""Has problems run whose answers cannot be read, until they are asked for again."""
    service.fault("load", "other_format", times=None)
    ising = native_model(sampler.chip)
    for _ in range(NUM_LOST):
        with pytest.raises(AnnealerError, match="cannot be read"):
            within(DEADLINE, sampler.sample, ising, READS)
    service.clear_faults()
    # Loading takes long enough for the recoveries to meet.
    service.fault("load", "drip", times=None, pause=1e-4)
    service.requests.clear()


def num_loads(service):
    return sum(path.startswith("problems/") and path.count("/") == 2
               for _, path, _ in service.requests)  # fmt: skip


def test_two_threads_find_each_answer_once(service, tmp_path):
    sampler = annealer(service, tmp_path)
    lose(service, sampler)
    found, start = [], threading.Barrier(2)

    def recover():
        start.wait()
        found.append(sampler.recover())

    threads = [threading.Thread(target=recover) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(found) == [0, NUM_LOST] and num_loads(service) == NUM_LOST
    assert sampler.account.num_problems == len(ReplaySampler(tmp_path)) == NUM_LOST
    assert sampler.account.unconfirmed == pytest.approx(0)


RECOVER = """
import sys
from dwave.system import DWaveSampler
from qahm_torch import AnnealerSampler, RetryPolicy
endpoint, token, folder = sys.argv[1:]
device = DWaveSampler(endpoint=endpoint, token=token, config_file=False, cache_enabled=False)
sampler = AnnealerSampler(device, policy=RetryPolicy(timeout=20), archive=folder)
sampler.chip
print("ready", flush=True)
sys.stdin.readline()
print(sampler.recover(), flush=True)
"""


def test_two_processes_find_each_answer_once(service, tmp_path):
    sampler = annealer(service, tmp_path)
    lose(service, sampler)
    # Those that wait for a problem are left alone; here nobody does any more.
    sampler.archive.release()
    environment = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
    command = [sys.executable, "-c", RECOVER, service.endpoint, service.token, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    cwd = Path(__file__).parent
    both = [subprocess.Popen(command, env=environment, cwd=cwd, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [int(process.communicate(timeout=DEADLINE)[0]) for process in both]
    assert sorted(found) == [0, NUM_LOST] and num_loads(service) == NUM_LOST
    records = [record.meta for record in AnswerArchive(tmp_path)]
    answers = [meta["label"] for meta in records if meta["kind"] == "answer"]
    assert len(answers) == len(set(answers)) == NUM_LOST


def test_who_asks_at_the_same_time_is_not_taken_for_a_living_writer(tmp_path):
    path = tmp_path / "a.qahm"
    path.touch()
    seen, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            seen.append(held_elsewhere(path))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(seen) > 100 and not any(seen)
    with locked(path, 1.0):
        assert held_elsewhere(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_lock_does_not_stay_with_a_child_that_was_forked_meanwhile(tmp_path):
    path = tmp_path / "recovery.lock"
    waiting, go_on = os.pipe()
    with locked(path, 1.0):
        child = os.fork()
        if child == 0:
            os.close(go_on)
            os.read(waiting, 1)
            os._exit(0)
    try:
        with locked(path, 0.2):
            pass
    finally:
        os.close(go_on)
        os.waitpid(child, 0)
