r"""Building devices when they are first needed, from what a YAML file can say."""

from __future__ import annotations

__all__ = ["check_spec", "open_device"]

from collections.abc import Callable
from typing import Any

from qahm_torch.device.credentials import refuse_credentials
from qahm_torch.device.door import Device, DimodDevice
from qahm_torch.device.errors import AnnealerError
from qahm_torch.device.patience import Clock, RetryPolicy, Task
from qahm_torch.device.quiet_logs import hush
from qahm_torch.device.redaction import quoted
from qahm_torch.device.seal import bare, has_met_client
from qahm_torch.trust import class_of

LATE = "the device was not opened within {time}; try again later"
GRACE = 0.25  # seconds beyond the deadline, to say what happened

# As early as can be: samplers that are given as they are have logged a lot by then.
hush()


def check_spec(device: Any) -> None:
    r"""Checks what was given as a device, without opening it.

    Raises:
        TypeError: If it is neither a structured dimod sampler nor a specification of one.
        ValueError: If a specification lacks its class or holds credentials.
    """
    if isinstance(device, dict):
        _check_keys(device)
        return
    if not all(_has(device, name) for name in ("nodelist", "edgelist", "sample", "properties")):
        raise TypeError(
            f"device is {type(device).__name__}, but a sampler with qubits and couplers is needed "
            "(DWaveSampler, SimulatedAnnealer, ...) or a class_path of one; what places models by "
            "itself, such as a composite, goes into DimodSampler"
        )


def open_device(
    device: Any,
    policy: RetryPolicy,
    is_anew: bool = False,
    look: Callable[[Device], object] = lambda _: None,
) -> Device:
    r"""Returns the device of a sampler or of a specification, within the deadline.

    Whatever goes wrong on the way is an `AnnealerError`, be it raised by a client, by a class of
    the user's, or by what a service says of its solver; but for what was typed wrong: a class that
    is none, or arguments that a class on this machine does not take.

    Arguments:
        device: The sampler or the specification.
        policy: Deadlines and retries.
        is_anew: Whether a sampler of the cloud that is given as it is has to look for its solver
            again, since that has failed or changed.
        look: What else is to be looked at before the device counts as opened.

    Raises:
        AnnealerError: If it cannot be opened.
        ValueError, TypeError: If the specification is wrong.
    """
    clock = Clock(policy.timeout)
    # What speaks to a service keeps to the clock; the rest is left behind if it does not.
    task = Task(lambda: _opened(device, policy, clock, is_anew, look), policy.timeout + GRACE)
    return task.result(LATE)


def _check_keys(spec: dict[str, Any]) -> None:
    if not isinstance(spec.get("class_path"), str) or not set(spec) <= {"class_path", "init_args"}:
        raise ValueError(
            f"device has the keys {', '.join(map(str, spec))}, but it is given as class_path and "
            "init_args"
        )
    refuse_credentials(spec.get("init_args"))


def _has(device: Any, name: str) -> bool:
    try:
        return hasattr(device, name)
    except Exception:
        # It is there; what is wrong with it is told when the device is opened.
        return True


def _opened(
    device: Any,
    policy: RetryPolicy,
    clock: Clock,
    is_anew: bool,
    look: Callable[[Device], object],
) -> Device:
    r"""Returns the device; the one place that errors of opening come through."""
    try:
        found = _found(device, policy, clock, is_anew)
        look(found)
        return found
    except AnnealerError as error:
        problem = error
    except Exception as error:
        if isinstance(error, _Mistake):
            raise error.args[0] from None
        problem = AnnealerError(
            f"the device cannot be opened ({_reason(error)}); check its init_args"
        )
    raise bare(problem)


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    # Where a client was met, the text may quote headers.
    return kind if has_met_client(error) else quoted(f"{kind}: {_text(error)}")


def _found(device: Any, policy: RetryPolicy, clock: Clock, is_anew: bool) -> Device:
    is_spec = isinstance(device, dict)
    sampler = _build(device, policy, clock) if is_spec else device
    if not _is_cloud(sampler):
        return DimodDevice(sampler)
    from qahm_torch.device.cloud import CloudDevice
    from qahm_torch.device.solvers import renewed

    sampler = renewed(sampler, policy, clock) if is_anew and not is_spec else sampler
    return CloudDevice(sampler, policy, is_spec)


def _is_cloud(sampler: Any) -> bool:
    # By name first: the client takes a second to import where it is not in use.
    if not _speaks_to_cloud(type(sampler)):
        return False
    from dwave.system import DWaveSampler

    return isinstance(sampler, DWaveSampler)


def _speaks_to_cloud(kind: type) -> bool:
    return any(c.__name__ == "DWaveSampler" for c in kind.__mro__)


class _Mistake(Exception):  # noqa: N818
    r"""What was typed wrong, on its way through the door."""


def _build(spec: dict[str, Any], policy: RetryPolicy, clock: Clock) -> Any:
    from dimod.core.sampler import Sampler

    arguments = dict(spec.get("init_args") or {})
    try:
        kind = class_of(spec["class_path"], Sampler, "device")
        if not _speaks_to_cloud(kind):
            return kind(**arguments)
    except (TypeError, ValueError) as error:
        if has_met_client(error):
            raise
        raise _Mistake(error) from None
    from qahm_torch.device.solvers import connected

    return connected(kind, arguments, spec["class_path"], policy, clock)


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return "it cannot be told"
