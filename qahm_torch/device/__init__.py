r"""The door to a machine, which knows qubits and no model."""

from qahm_torch.device.chip import Chip as Chip
from qahm_torch.device.errors import (
    AnnealerError as AnnealerError,
    AnnealerWarning as AnnealerWarning,
    AnswerError as AnswerError,
    ArchiveError as ArchiveError,
    BudgetError as BudgetError,
    CredentialsError as CredentialsError,
    DeadlineError as DeadlineError,
    DeviceOfflineError as DeviceOfflineError,
    LedgerError as LedgerError,
    PlacementError as PlacementError,
    ProblemFailedError as ProblemFailedError,
    RangeError as RangeError,
    RejectedError as RejectedError,
    ServiceError as ServiceError,
    SubmissionUnknownError as SubmissionUnknownError,
)
from qahm_torch.device.patience import RetryPolicy as RetryPolicy
