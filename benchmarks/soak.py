r"""A long training through a service that fails at random: what leaks, and what was billed.

    python benchmarks/soak.py --output benchmarks/soak.json

A Boltzmann machine is trained by `AnnealerSampler`, with an archive, by a process of its own that
talks to a loopback service through D-Wave's client. A share of the calls meets a fault, drawn from
those that `tests/cloud_faults.py` has at each step. Where the device fails for good, the update
uses the former samples, as `Fallback` would another sampler. Memory, threads and sockets of that
process are read on the way; in the end `recover` is called, and the account is compared with what
the service billed, job by job.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import qahm_torch as qt
from qahm_torch.annealer import ReplaySampler
from qahm_torch.evaluation import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cloud_service import CloudService
from fault_runs import native_model

READS = 20
READINGS = 20  # of memory, threads and sockets
# (step, kind, details) of what may strike; each lets the service go on afterwards. An answer
# without its times is left out, since the account could not equal the bill.
FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    *(
        (step, kind, {})
        for step in ("submit", "poll", "load")
        for kind in ("drop", "reset", "accept_then_drop", "truncate", "not_json", "empty_object")
    ),
    *(
        ("submit", kind, {})
        for kind in ("fail", "cancel", "offline", "pending_forever", "refuse", "stall")
    ),
    *(
        ("load", kind, {})
        for kind in ("short_reads", "wrong_energies", "shifted_labels", "bad_base64")
    ),
    *((step, "status", {"code": 503}) for step in ("submit", "poll", "load", "list", "cancel")),
    ("load", "drip", {"pause": 0.0001}),
    ("submit", "slow", {"seconds": 0.1}),
]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "soak.json")
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.1, help="of the calls that meet a fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    settings = parser.parse_args(arguments)
    if settings.client is not None:
        print(json.dumps(train(json.loads(settings.client), settings.updates)))
        return
    report = soak(settings.updates, settings.share, settings.seed)
    write_json(settings.output, report)
    print(json.dumps({k: v for k, v in report.items() if k != "readings"}, indent=1))


def soak(updates: int, share: float, seed: int) -> dict[str, Any]:
    r"""Serves a training in another process, and returns what came of it."""
    start = time.monotonic()
    planted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, CloudService(shape=[2]) as service:
        done = threading.Event()
        arguments = (service, share, random.Random(seed), done, planted)
        threading.Thread(target=plant, args=arguments, daemon=True).start()
        options = {**service.client_options(), "http_retry_total": 1, "request_timeout": 0.5}
        told = {"options": options, "archive": f"{folder}/archive", "seed": seed}
        seen = client(told, updates, folder)
        done.set()
        billed = [problem for problem in service.problems.values() if problem.billed]
        cost = sum(_seconds(service, problem) for problem in billed)
        kept = _kept(f"{folder}/archive")
        return {
            "updates": updates,
            "seed": seed,
            "minutes": (time.monotonic() - start) / 60,
            "faults": sum(planted.values()),
            "faults_by_kind": dict(planted.most_common()),
            **seen,
            "problems": len(service.problems),
            "billed": {"jobs": len(billed), "microseconds": round(cost * 1e6)},
            "answers_lost": len({problem.id for problem in billed} - set(kept)),
            "answers_kept_twice": len(kept) - len(set(kept)),
        }


def plant(
    service: CloudService,
    share: float,
    randomness: random.Random,
    done: threading.Event,
    planted: Counter[str],
) -> None:
    r"""Plans a fault for a share of the submissions, as they come."""
    seen = 0
    while not done.wait(0.002):
        number = len(service.problems)
        for _ in range(number - seen):
            if randomness.random() < share:
                step, kind, details = randomness.choice(FAULTS)
                service.fault(step, kind, **details)
                planted[f"{kind} at {step}"] += 1
        seen = number


def client(told: dict[str, Any], updates: int, folder: str) -> dict[str, Any]:
    r"""Trains in a process of its own, which knows of no settings of the user's."""
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("DWAVE_")}
    environment |= {"XDG_CACHE_HOME": folder, "XDG_CONFIG_HOME": folder, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, __file__, "--updates", str(updates), "--client", json.dumps(told)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"the training ended with {run.returncode}:\n{run.stderr}")
    told_back: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told_back


def train(told: dict[str, Any], updates: int) -> dict[str, Any]:
    r"""Trains, and returns outcomes, readings, and the account after all was recovered."""
    from dwave.system import DWaveSampler

    warnings.simplefilter("ignore")
    torch.manual_seed(told["seed"])
    policy = qt.RetryPolicy(timeout=1.0, request_timeout=0.3, retries=2, backoff=0.01, settle=0.05)
    sampler = qt.AnnealerSampler(
        DWaveSampler(**told["options"]), beta=1.0, policy=policy, archive=told["archive"]
    )
    layer = qt.QuantumPriorLayer(native_model(sampler.chip).graph, num_samples=READS)
    # The decay keeps couplings within the range of the device, so that all updates reach it.
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=1.0)
    negative: torch.Tensor | None = None
    outcomes: Counter[str] = Counter()
    readings, late = [], 0.0
    for k in range(updates):
        start = time.monotonic()
        try:
            negative = sampler.sample(layer.ising().detach(), READS).spins
            outcomes["samples"] += 1
        except qt.AnnealerError as error:
            outcomes[type(error).__name__] += 1
        late = max(late, time.monotonic() - start)
        if negative is not None:
            data = torch.randint(2, (64, layer.num_visible)) * 2.0 - 1
            optimizer.zero_grad()
            (-layer.log_prob(data, negative).mean()).backward()
            optimizer.step()
        if (k + 1) % max(1, updates // READINGS) == 0:
            readings.append({"updates": k + 1, **reading()})
    recovered = recover(sampler)
    account = sampler.account
    return {
        "outcomes": dict(outcomes.most_common()),
        "foreign_exceptions": 0,  # one would have ended the process
        "longest_call": late,
        "readings": readings,
        "recovered": recovered,
        "account": {
            "measured_microseconds": round(account.measured * 1e6),
            "unconfirmed_microseconds": round(account.unconfirmed * 1e6),
            "unconfirmed_jobs": len(account.state_dict()["unknown"]),
        },
    }


def recover(sampler: qt.AnnealerSampler, tries: int = 20) -> int:
    r"""Recovers until nothing is left, through what faults there still are."""
    found = 0
    for _ in range(tries):
        try:
            found += sampler.recover()
        except qt.AnnealerError:
            time.sleep(0.5)
    return found


def reading() -> dict[str, Any]:
    r"""Returns the megabytes, threads and sockets of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "megabytes": pages * resource.getpagesize() / 2**20,
        "threads": threading.active_count(),
        "sockets": sum(map(_is_socket, Path("/proc/self/fd").iterdir())),
    }


def _is_socket(path: Path) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False


def _kept(archive: str) -> list[str]:
    return [answer.meta["problem_id"] for answer in ReplaySampler(archive)]


def _seconds(service: CloudService, problem: Any) -> float:
    from fault_runs import _cost

    return float(_cost(service, problem))


if __name__ == "__main__":
    main()
