r"""The door to a machine, which knows qubits and no model."""

from qahm_torch.device.chip import Chip as Chip
from qahm_torch.device.errors import (
    AnnealerError as AnnealerError,
)
from qahm_torch.device.errors import (
    AnswerError as AnswerError,
)
from qahm_torch.device.errors import (
    BudgetError as BudgetError,
)
from qahm_torch.device.errors import (
    CredentialsError as CredentialsError,
)
from qahm_torch.device.errors import (
    DeadlineError as DeadlineError,
)
from qahm_torch.device.errors import (
    DeviceOfflineError as DeviceOfflineError,
)
from qahm_torch.device.errors import (
    PlacementError as PlacementError,
)
from qahm_torch.device.errors import (
    ProblemFailedError as ProblemFailedError,
)
from qahm_torch.device.errors import (
    RangeError as RangeError,
)
from qahm_torch.device.errors import (
    RejectedError as RejectedError,
)
from qahm_torch.device.errors import (
    ServiceError as ServiceError,
)
from qahm_torch.device.errors import (
    SubmissionUnknownError as SubmissionUnknownError,
)
from qahm_torch.device.patience import RetryPolicy as RetryPolicy
