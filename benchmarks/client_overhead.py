r"""What the way to the cloud costs: the time of a call beyond the time of the service itself.

    python benchmarks/client_overhead.py --output benchmarks/client_overhead.json

An embedded 60-clique on a Pegasus-16 with 1000 reads, through a service on the loopback address in
a process of its own, which answers with random bits. Three ways alternate, so that they see the
same load: `AnnealerSampler`, the stock path (`DWaveSampler` in `FixedEmbeddingComposite`), and a
bare conversation that sends the same bytes and decodes nothing, which is the time of the service.
What is reported is the median of each, and how far it is above the bare one; and the time of the
same call of the simulated annealer, which anneals 100 sweeps in this process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import torch

import qahm_torch as qt
from qahm_torch.annealer.program import program
from qahm_torch.device.door import Job
from qahm_torch.device.protocol import Wiring, encode_problem
from qahm_torch.evaluation import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/client_overhead.json"))
    parser.add_argument("--repeats", type=int, default=20)
    settings = parser.parse_args()
    warnings.simplefilter("ignore", qt.AnnealerWarning)
    os.environ["NO_PROXY"] = "127.0.0.1"
    from cloud_service import CloudService

    with CloudService("pegasus", (16,), process=True) as service:
        report = measure(service, settings.repeats)
    report["simulated_annealer_milliseconds"] = simulated(settings.repeats)
    write_json(settings.output, report)
    print(report)


def simulated(repeats: int) -> float:
    r"""Returns the median time of a call of the simulated annealer, in milliseconds."""
    sampler = qt.AnnealerSampler(qt.SimulatedAnnealer("pegasus", 16, seed=0), beta=3.0)
    ising, times = clique(), []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        sampler.sample(ising, 1000)
        if repeat:  # the first one places the model, and compiles
            times.append(1000 * (time.perf_counter() - start))
    return median(times)


def clique() -> qt.Ising:
    r"""Returns a random model of 60 spins, all of which interact."""
    torch.manual_seed(0)
    return qt.Ising(qt.CouplingGraph.complete(60), 0.1 * torch.randn(60), 0.1 * torch.randn(1770))


def measure(service: Any, repeats: int) -> dict[str, Any]:
    r"""Returns medians over alternating calls, in milliseconds."""
    from dwave.system import DWaveSampler, FixedEmbeddingComposite

    sampler = DWaveSampler(**service.client_options())
    ungauged = qt.ProgramSettings(num_gauges=0)
    ours = qt.AnnealerSampler(sampler, beta=3.0, programming=ungauged)
    ising = clique()
    graph = ising.graph
    strands = dict(enumerate(ours.site(graph).placement.strands[0]))
    stock = FixedEmbeddingComposite(sampler, strands)
    bqm = ising.scaled(1 / 3.0).to_bqm()
    settings = {"num_reads": 1000, "auto_scale": False, "answer_mode": "raw"}
    bare = Conversation(service, sampler, ours, ising)
    calls = {
        "bare_conversation": bare,
        "annealer_sampler": lambda: ours.sample(ising, 1000),
        "stock_client": lambda: len(stock.sample(bqm, chain_strength=1.3, **settings)),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    work: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 3):
        for name, call in calls.items():
            start, before = time.perf_counter(), time.process_time()
            call()
            if repeat >= 3:
                times[name].append(1000 * (time.perf_counter() - start))
                work[name].append(1000 * (time.process_time() - before))
    medians = {name: median(values) for name, values in times.items()}
    floor = medians["bare_conversation"]
    return {
        "milliseconds": medians,
        "processor_milliseconds": {name: median(values) for name, values in work.items()},
        "overhead_milliseconds": {
            name: medians[name] - floor for name in ("annealer_sampler", "stock_client")
        },
        "qubits": len(ours.site(graph).placement.qubits),
        "reads": 1000,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
    }


class Conversation:
    r"""Submits, polls and loads over one connection, with a body that was encoded before."""

    def __init__(self, service: Any, sampler: Any, ours: qt.AnnealerSampler, ising: qt.Ising):
        address = urlsplit(service.endpoint)
        self.connection = http.client.HTTPConnection(address.hostname, address.port)
        self.path = address.path.rstrip("/")
        self.headers = {"X-Auth-Token": service.token}
        placed = ours.site(ising.graph).placement.tensors(ising.graph, ours.chip)
        made = program(ising, placed, ours.chip, beta=3.0)
        job = Job(
            *(placed.qubits.numpy(), made.h[0].numpy()),
            *(placed.couplers.numpy(), made.J[0].numpy()),
            *(1000, {}, "bare"),
        )
        properties = sampler.properties
        wiring = Wiring(*(properties[k] for k in ("qubits", "couplers", "num_qubits")))
        content = {
            "solver": sampler.solver.identity.model_dump(),
            "data": encode_problem(job, wiring),
            "type": "ising",
            "params": {"num_reads": 1000, "auto_scale": False, "answer_mode": "raw"},
        }
        self.body = json.dumps([content]).encode()

    def __call__(self) -> None:
        problem = json.loads(self._request("POST", "/problems/", self.body))[0]["id"]
        self._request("GET", f"/problems/?id={problem}&timeout=20")
        self._request("GET", f"/problems/{problem}/")

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self.connection.request(method, self.path + path, body, self.headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:200]!r}")
        return content


if __name__ == "__main__":
    main()
