r"""What can go wrong between a program and an annealer, in types that say what to do."""

from __future__ import annotations

__all__ = [
    "AnnealerError",
    "AnnealerWarning",
    "AnswerError",
    "ArchiveError",
    "BudgetError",
    "CredentialsError",
    "DeadlineError",
    "DeviceOfflineError",
    "LedgerError",
    "PlacementError",
    "ProblemFailedError",
    "RangeError",
    "RejectedError",
    "ServiceError",
    "SubmissionUnknownError",
]

from qahm_torch.device.redaction import cleaned


class AnnealerError(RuntimeError):
    r"""The base of all errors of annealers.

    Messages hold what happened and what can be done, on one line: what a service has said in them
    is printable, short and without credentials. The errors of the client, whose requests carry
    those, are not kept as causes, and the frames in which they were are not in the traceback.

    Arguments:
        message: What happened, and what to do.
        problem_id: The identity of the problem at the service, by which
            `AnnealerSampler.recover` can fetch an answer that was paid for; None if there is none.
        may_have_run: Whether the problem may have run, and so be billed.

    In `unread` is what the service had sent of the problem and could not be used, by what it was
    to be, without the credentials that are known; it is empty once that has been set aside.
    """

    def __init__(
        self, message: str, problem_id: str | None = None, may_have_run: bool | None = None
    ):
        may_have_run = problem_id is not None if may_have_run is None else may_have_run
        super().__init__(cleaned(message), problem_id, may_have_run)
        self.problem_id = problem_id
        self.may_have_run = may_have_run
        self.unread: dict[str, bytes] = {}

    def add(self, text: str) -> None:
        r"""Adds a sentence to the message."""
        self.args = (cleaned(f"{self}. {text}"), *self.args[1:])

    def __str__(self) -> str:
        return str(self.args[0])


class AnnealerWarning(UserWarning):
    r"""Something about the device that a user should know; the training goes on."""

    def __init__(self, message: str):
        super().__init__(cleaned(message))


class PlacementError(AnnealerError, ValueError):
    r"""The model does not fit on the device."""


class RangeError(AnnealerError, ValueError):
    r"""Fields or couplings are beyond the range of the device."""


class ArchiveError(AnnealerError):
    r"""The archive cannot be written, so that nothing was submitted, or could not be kept."""


class LedgerError(AnnealerError, ValueError):
    r"""The ledger of QPU time cannot be read or written, so that no budget can be kept."""


class BudgetError(AnnealerError):
    r"""The next problem would cost more QPU time than is left; it was not submitted."""


class CredentialsError(AnnealerError):
    r"""The service does not accept the credentials (401, 403), or there are none."""


class DeviceOfflineError(AnnealerError):
    r"""The device is offline, unknown, or not reachable at all."""


class RejectedError(AnnealerError):
    r"""The service refused the problem as it stands; it was not run."""


class ServiceError(AnnealerError):
    r"""The service answered with errors (429, 5xx) until the deadline or the last retry."""


class SubmissionUnknownError(AnnealerError):
    r"""A submission was lost on the way, and whether the problem runs is not known.

    The service had no problem of its label. It was not submitted again, since it could be billed
    twice; it counts as spent until `AnnealerSampler.recover` finds it by its label.
    """


class DeadlineError(AnnealerError):
    r"""There was no answer within the time that was set."""


class ProblemFailedError(AnnealerError):
    r"""The service accepted the problem and then failed or cancelled it."""


class AnswerError(AnnealerError):
    r"""The answer is damaged or is not of the problem; no sample of it was used."""
