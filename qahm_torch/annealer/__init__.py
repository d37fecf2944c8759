r"""Sampling through a quantum annealer, real or simulated."""

from qahm_torch.annealer.annealer import (
    AnnealerSampler as AnnealerSampler,
    AnnealerWarning as AnnealerWarning,
)
from qahm_torch.annealer.archive import AnswerArchive as AnswerArchive
from qahm_torch.annealer.embedded import EmbeddedPrior as EmbeddedPrior
from qahm_torch.annealer.ledger import TimeLedger as TimeLedger
from qahm_torch.annealer.placement import (
    Placement as Placement,
    place as place,
)
from qahm_torch.annealer.replay import ReplaySampler as ReplaySampler
from qahm_torch.annealer.settings import AnnealSettings as AnnealSettings
from qahm_torch.annealer.temperature import BetaTracker as BetaTracker
