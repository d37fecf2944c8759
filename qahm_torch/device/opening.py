r"""Building devices when they are first needed, from what a YAML file can say."""

from __future__ import annotations

__all__ = ["check_spec", "open_device"]

import re
from collections.abc import Iterator
from typing import Any

from qahm_torch.device.door import Device, DimodDevice
from qahm_torch.device.patience import Clock, RetryPolicy, Task
from qahm_torch.trust import class_of

SECRETS = ("token", "client_cert", "client_cert_key", "headers")
LATE = "the device was not opened within {time}; try again later"
GRACE = 0.25  # seconds beyond the deadline, to say what happened
URL_WITH_PASSWORD = re.compile(r"\w+://[^/]*@")


def check_spec(device: Any) -> None:
    r"""Checks what was given as a device, without opening it.

    Raises:
        TypeError: If it is neither a structured dimod sampler nor a specification of one.
        ValueError: If a specification lacks its class or holds credentials.
    """
    if isinstance(device, dict):
        _check_keys(device)
        return
    if not all(hasattr(device, name) for name in ("nodelist", "edgelist", "sample", "properties")):
        raise TypeError(
            f"device is {type(device).__name__}, but a sampler with qubits and couplers is needed "
            "(DWaveSampler, SimulatedAnnealer, ...) or a class_path of one; what places models by "
            "itself, such as a composite, goes into DimodSampler"
        )


def open_device(device: Any, policy: RetryPolicy, is_anew: bool = False) -> Device:
    r"""Returns the device of a sampler or of a specification, within the deadline.

    Arguments:
        device: The sampler or the specification.
        policy: Deadlines and retries.
        is_anew: Whether a sampler of the cloud that is given as it is has to look for its solver
            again, since that has failed or changed.

    Raises:
        AnnealerError: If it cannot be opened.
    """
    clock = Clock(policy.timeout)
    # What speaks to a service keeps to the clock; the rest is left behind if it does not.
    task = Task(lambda: _opened(device, policy, clock, is_anew), policy.timeout + GRACE)
    return task.result(LATE)


def _check_keys(spec: dict[str, Any]) -> None:
    if not isinstance(spec.get("class_path"), str) or not set(spec) <= {"class_path", "init_args"}:
        raise ValueError(
            f"device has the keys {', '.join(map(str, spec))}, but it is given as class_path and "
            "init_args"
        )
    secret = next(_secrets(spec.get("init_args") or {}), None)
    if secret is not None:
        raise ValueError(
            f"the device has {secret!r} in its init_args, but credentials come only from "
            "D-Wave's own configuration (`dwave config create`) or DWAVE_API_TOKEN"
        )


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    r"""Yields the names of what holds credentials, at any depth."""
    if name in SECRETS or (isinstance(value, str) and URL_WITH_PASSWORD.match(value)):
        yield name
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _secrets(part, str(key))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _secrets(part, name)


def _opened(device: Any, policy: RetryPolicy, clock: Clock, is_anew: bool) -> Device:
    is_spec = isinstance(device, dict)
    sampler = _build(device, policy, clock) if is_spec else device
    if not _is_cloud(sampler):
        return DimodDevice(sampler)
    from qahm_torch.device.cloud import CloudDevice
    from qahm_torch.device.solvers import renewed

    if is_anew and not is_spec:
        sampler = renewed(sampler, policy, clock)
    return CloudDevice(sampler, policy, is_owner=is_spec)


def _is_cloud(sampler: Any) -> bool:
    # By name first: the client takes a second to import where it is not in use.
    if not any(c.__name__ == "DWaveSampler" for c in type(sampler).__mro__):
        return False
    from dwave.system import DWaveSampler

    return isinstance(sampler, DWaveSampler)


def _build(spec: dict[str, Any], policy: RetryPolicy, clock: Clock) -> Any:
    from dimod.core.sampler import Sampler

    kind = class_of(spec["class_path"], Sampler, "device")
    arguments = dict(spec.get("init_args") or {})
    if kind.__name__ != "DWaveSampler":
        return kind(**arguments)
    from qahm_torch.device.solvers import connected

    return connected(kind, arguments, spec["class_path"], policy, clock)
