r"""Building devices when they are first needed, from what a YAML file can say."""

from __future__ import annotations

__all__ = ["check_spec", "open_device"]

import re
from collections.abc import Iterator
from typing import Any

from qahm_torch.device.door import Device, DimodDevice
from qahm_torch.device.errors import (
    AnnealerError,
    CredentialsError,
    DeviceOfflineError,
    ServiceError,
)
from qahm_torch.device.patience import RetryPolicy, Task
from qahm_torch.trust import class_of

SECRETS = ("token", "client_cert", "client_cert_key", "headers")
URL_WITH_PASSWORD = re.compile(r"\w+://[^/]*@")
# Patience of D-Wave's client while it looks for a solver; its own defaults add up to 10 minutes.
# Its cache knows a chip for an hour as it was, which refuses problems if it has changed since.
CLIENT_DEFAULTS = {"request_timeout": 10, "http_retry_total": 2, "cache_enabled": False}


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


def open_device(device: Any, policy: RetryPolicy) -> Device:
    r"""Returns the device of a sampler or of a specification, within the deadline.

    Raises:
        AnnealerError: If it cannot be opened.
    """
    task = Task(lambda: _opened(device, policy), policy.timeout)
    return task.result("the device was not opened within {time}; try again later")


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


def _secrets(arguments: dict[str, Any]) -> Iterator[str]:
    r"""Yields the names of what holds credentials, at any depth."""
    for name, value in arguments.items():
        if name in SECRETS or (isinstance(value, str) and URL_WITH_PASSWORD.match(value)):
            yield name
        elif isinstance(value, dict):
            yield from _secrets(value)


def _opened(device: Any, policy: RetryPolicy) -> Device:
    sampler = _build(device) if isinstance(device, dict) else device
    if not _is_cloud(sampler):
        return DimodDevice(sampler)
    from qahm_torch.device.cloud import CloudDevice

    return CloudDevice(sampler, policy)


def _is_cloud(sampler: Any) -> bool:
    # By name first: the client takes a second to import where it is not in use.
    if not any(c.__name__ == "DWaveSampler" for c in type(sampler).__mro__):
        return False
    from dwave.system import DWaveSampler

    return isinstance(sampler, DWaveSampler)


def _build(spec: dict[str, Any]) -> Any:
    from dimod.core.sampler import Sampler

    kind = class_of(spec["class_path"], Sampler, "device")
    arguments = dict(spec.get("init_args") or {})
    if kind.__name__ != "DWaveSampler":
        return kind(**arguments)
    try:
        return kind(**{**CLIENT_DEFAULTS, **arguments})
    except Exception as error:
        problem = _explained(error, spec["class_path"])
    # Outside of the handler: the client's error holds the request with its credentials.
    raise problem


def _explained(error: Exception, name: str) -> AnnealerError:
    from dwave.cloud import exceptions

    kind = type(error).__name__
    is_refused = isinstance(error, exceptions.SolverAuthenticationError) or kind in (
        "ResourceAuthenticationError",
        "ResourceAccessForbiddenError",
        "InvalidHeader",
        "ValidationError",
    )
    # What an older requests lets through, http.client refuses.
    if is_refused or (isinstance(error, ValueError) and "Invalid header value" in str(error)):
        return CredentialsError(
            f"{name}: the service does not accept the credentials ({kind}); check them with "
            "`dwave ping`. A token that was read from a file may end with a line break"
        )
    if isinstance(error, ValueError) and "not defined" in str(error):
        return CredentialsError(
            f"{name}: {error}; put the credentials into D-Wave's own configuration with "
            "`dwave config create`, or DWAVE_API_TOKEN into the environment"
        )
    if isinstance(error, exceptions.SolverNotFoundError):
        return DeviceOfflineError(
            f"{name}: there is no solver online that fits the request; `dwave solvers` lists "
            "those there are"
        )
    code = getattr(error, "error_code", None)
    if code is not None:
        return ServiceError(
            f"{name}: the service answered with status {code}; check the endpoint, or try again "
            "later"
        )
    if kind in ("ResourceBadResponseError", "InvalidAPIResponseError"):
        return ServiceError(f"{name}: the answer is not of the cloud protocol; check the endpoint")
    if isinstance(error, OSError):
        return DeviceOfflineError(
            f"{name}: the service cannot be reached ({kind}); check the network and the endpoint"
        )
    return AnnealerError(f"{name}: the device cannot be opened ({kind}); check its init_args")
