r"""A training that is killed again and again: what it resumes with, and what was billed.

    python benchmarks/kills.py --output benchmarks/kills.json

`qahm fit` trains a Helmholtz machine of the digits by `AnnealerSampler`, with an archive and a
checkpoint every few updates, through D-Wave's client and a loopback service. Each process is ended
by SIGKILL at a random moment, of its start or of its training, and the next one resumes from
`last.ckpt`. A quarter of the moments are drawn from the first seconds of a process, the others
from those after its first problem. The last process ends by itself; then `recover` is called, and
the account is compared with what the service billed, job by job.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

import qahm_torch as qt
from qahm_torch.annealer import ReplaySampler
from qahm_torch.evaluation import write_json
from qahm_torch.training.checkpoints import read_checkpoint

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cloud_service import CloudService
from fault_runs import _cost
from token_search import training_config

TOKEN = "LOOPBACK"
EVERY_N_STEPS = 5  # updates between checkpoints
LAST_STEPS = 20  # updates of the process that is not killed
LATENCY = 0.05  # seconds of a problem at the service, so that many are under way when killed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "kills.json")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--window", type=float, default=4.0, help="seconds within which they fall")
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=os.environ.get("KILLS_DIR")) as folder, alone(folder):
        report = killed_training(Path(folder), settings.kills, settings.window, settings.seed)
    write_json(settings.output, report)
    print(json.dumps(report, indent=1))


@contextmanager
def alone(folder: str) -> Iterator[None]:
    r"""Lets this process and its children know of no settings of the user's."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.upper().startswith("DWAVE_") or name.upper().endswith("_PROXY"):
            del os.environ[name]
    os.environ.update(
        XDG_CACHE_HOME=folder,
        XDG_CONFIG_HOME=folder,
        NO_PROXY="127.0.0.1",
        DWAVE_API_TOKEN=TOKEN,
        JSONARGPARSE_DEPRECATION_WARNINGS="off",
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def killed_training(folder: Path, kills: int, window: float, seed: int) -> dict[str, Any]:
    r"""Trains in processes that are killed, and returns what came of it."""
    start = time.monotonic()
    randomness = random.Random(seed)
    with CloudService(shape=[2], token=TOKEN, latency=LATENCY) as service:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings_of(service, folder / "archive")))
        steps, under_way, early, ended = [0], 0, 0, Counter[str]()
        for kill in range(kills):
            process, is_early = resumed(folder, None), randomness.random() < 0.25 and kill > 0
            if not is_early:
                wait_for_problem(service, process)
            # There is nothing to resume before there is a checkpoint.
            while kill == 0 and _last(folder) is None and process.is_alive():
                time.sleep(0.01)
            process.join(randomness.uniform(0.0, window))
            under_way += any(not problem.billed for problem in list(service.problems.values()))
            process.kill()
            process.join()
            early += is_early
            ended[_how(process.exitcode)] += 1
            steps.append(_steps(folder))
        process = resumed(folder, steps[-1] + LAST_STEPS)
        process.join()
        ended[_how(process.exitcode)] += 1
        told = settled(service, folder)
        done = [b - a for a, b in itertools.pairwise(steps)]
        return {
            "kills": kills,
            "seed": seed,
            "minutes": (time.monotonic() - start) / 60,
            "ends": dict(ended),
            "updates": _steps(folder),
            "kills_of_starts": early,
            "kills_before_the_first_checkpoint_of_a_process": done.count(0),
            "resumed_with_less": sum(more < 0 for more in done),
            "kills_while_a_problem_ran": under_way,
            **told,
        }


def settings_of(service: CloudService, archive: Path) -> dict[str, Any]:
    r"""Returns the configuration of a training that goes on until it is stopped."""
    config = training_config(service, archive)
    config["name"] = "killed"
    config["trainer"].update(max_epochs=-1, check_val_every_n_epoch=10)
    config["model"]["init_args"].pop("lr_scheduler", None)
    for callback in config["trainer"]["callbacks"]:
        if callback["class_path"].endswith("ModelCheckpoint"):
            callback["init_args"] = {"save_last": True, "every_n_train_steps": EVERY_N_STEPS}
    return config


def resumed(folder: Path, max_steps: int | None) -> Any:
    r"""Starts a process that trains from the last checkpoint on, if there is one."""
    arguments = ["fit", "--config", "config.yaml"]
    if (last := _last(folder)) is not None:
        arguments += ["--ckpt_path", str(last)]
    if max_steps is not None:
        arguments += ["--trainer.max_steps", str(max_steps)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["qahm_torch.training", "dwave.system", "jsonargparse"])
    process = context.Process(target=train, args=(str(folder), arguments))
    process.start()
    return process


def wait_for_problem(service: CloudService, process: Any) -> None:
    r"""Waits until a process has sent its first problem."""
    before = len(service.problems)
    while len(service.problems) == before and process.is_alive():
        time.sleep(0.01)


def train(folder: str, arguments: list[str]) -> None:
    r"""Is the console script, in a process of its own; what it prints goes into a file."""
    from qahm_torch.cli import main

    os.chdir(folder)
    # The last one alone is kept: it tells why a process has ended that nobody killed.
    printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["qahm", *arguments]
    sys.exit(main())


def settled(service: CloudService, folder: Path) -> dict[str, Any]:
    r"""Recovers what is missing, and compares the account with the bill."""
    warnings.simplefilter("ignore")
    spec = training_config(service, folder / "archive")
    prior = spec["model"]["init_args"]["machine"]["init_args"]["prior"]
    arguments = prior["init_args"]["sampler"]["init_args"]
    sampler = qt.AnnealerSampler(
        arguments["device"], beta=arguments["beta"], archive=arguments["archive"]
    )
    last = _last(folder)
    assert last is not None
    sampler.load_state_dict(read_checkpoint(last)["prior_sampler"])
    missing = sampler.account.state_dict()["unknown"]
    recovered = sampler.recover()
    billed = [problem for problem in service.problems.values() if problem.billed]
    kept = [answer.meta["problem_id"] for answer in ReplaySampler(folder / "archive")]
    labels = Counter(problem.label for problem in billed)
    unknown = sampler.account.state_dict()["unknown"]
    return {
        "problems": len(service.problems),
        "answers_missing_after_the_kills": len(missing),
        "recovered": recovered,
        "billed": {
            "jobs": len(billed),
            "microseconds": round(sum(_cost(service, problem) for problem in billed) * 1e6),
        },
        "account": {
            "jobs": sampler.account.num_problems,
            "measured_microseconds": round(sampler.account.measured * 1e6),
            "unconfirmed_microseconds": round(sampler.account.unconfirmed * 1e6),
        },
        # Written down, and killed before they were sent: they count as spent, to be safe.
        "never_sent": len(unknown),
        "unconfirmed_although_sent": len(
            set(unknown) & {p.label for p in service.problems.values()}
        ),
        "answers_lost": len({problem.id for problem in billed} - set(kept)),
        "answers_kept_twice": len(kept) - len(set(kept)),
        "billed_twice": sum(number > 1 for number in labels.values()),
    }


def _last(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("runs/killed/*/checkpoints/last.ckpt"))), None)


def _steps(folder: Path) -> int:
    last = _last(folder)
    return 0 if last is None else int(read_checkpoint(last)["global_step"])


def _how(status: int | None) -> str:
    return "killed" if status == -signal.SIGKILL else f"status {status}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
