r"""Sampling through a quantum annealer, real or simulated."""

from qahm_torch.annealer.account import TimeAccount as TimeAccount
from qahm_torch.annealer.annealer import AnnealerSampler as AnnealerSampler
from qahm_torch.annealer.archive import AnswerArchive as AnswerArchive
from qahm_torch.annealer.embedded import EmbeddedPrior as EmbeddedPrior
from qahm_torch.annealer.placement import Placement as Placement
from qahm_torch.annealer.replay import ReplaySampler as ReplaySampler
from qahm_torch.annealer.search import place as place
from qahm_torch.annealer.settings import (
    AnnealSettings as AnnealSettings,
    PlacementSettings as PlacementSettings,
    ProgramSettings as ProgramSettings,
    TrackingSettings as TrackingSettings,
)
from qahm_torch.annealer.site import BetaTracker as BetaTracker
