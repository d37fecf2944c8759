r"""Sampling through a quantum annealer, real or simulated."""

from qahm_torch.samplers.annealer.archive import AnswerArchive
from qahm_torch.samplers.annealer.chip import Chip
from qahm_torch.samplers.annealer.errors import (
    AnnealerError,
    AnswerError,
    BudgetError,
    CredentialsError,
    DeadlineError,
    DeviceOfflineError,
    PlacementError,
    ProblemFailedError,
    RangeError,
    RejectedError,
    ServiceError,
    SubmissionUnknownError,
)
from qahm_torch.samplers.annealer.ledger import TimeLedger
from qahm_torch.samplers.annealer.placement import Placement, place
from qahm_torch.samplers.annealer.replay import ReplaySampler
from qahm_torch.samplers.annealer.sampler import AnnealerSampler, AnnealerWarning
from qahm_torch.samplers.annealer.settings import AnnealSettings, RetryPolicy
from qahm_torch.samplers.annealer.temperature import BetaTracker

__all__ = [
    "AnnealSettings",
    "AnnealerError",
    "AnnealerSampler",
    "AnnealerWarning",
    "AnswerArchive",
    "AnswerError",
    "BetaTracker",
    "BudgetError",
    "Chip",
    "CredentialsError",
    "DeadlineError",
    "DeviceOfflineError",
    "Placement",
    "PlacementError",
    "ProblemFailedError",
    "RangeError",
    "RejectedError",
    "ReplaySampler",
    "RetryPolicy",
    "ServiceError",
    "SubmissionUnknownError",
    "TimeLedger",
    "place",
]
