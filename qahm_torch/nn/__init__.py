r"""Modules that know no sampler: units, networks, the Helmholtz machine, what a prior is."""

from qahm_torch.nn.belief import (
    BeliefNetwork as BeliefNetwork,
    Draw as Draw,
)
from qahm_torch.nn.gray import (
    ContinuousSpins as ContinuousSpins,
    DiscretizedLogistic as DiscretizedLogistic,
)
from qahm_torch.nn.machine import (
    HelmholtzMachine as HelmholtzMachine,
    hide as hide,
)
from qahm_torch.nn.prior import Prior as Prior
from qahm_torch.nn.units import (
    Concatenated as Concatenated,
    OneHot as OneHot,
    Spins as Spins,
    VisibleDistribution as VisibleDistribution,
)
