r"""Modules that know no sampler: units, networks, the Helmholtz machine, what a prior is."""

from qahm_torch.nn.belief import (
    BeliefNetwork as BeliefNetwork,
)
from qahm_torch.nn.belief import (
    Draw as Draw,
)
from qahm_torch.nn.gray import (
    ContinuousSpins as ContinuousSpins,
)
from qahm_torch.nn.gray import (
    DiscretizedLogistic as DiscretizedLogistic,
)
from qahm_torch.nn.machine import (
    HelmholtzMachine as HelmholtzMachine,
)
from qahm_torch.nn.machine import (
    hide as hide,
)
from qahm_torch.nn.prior import Prior as Prior
from qahm_torch.nn.units import (
    Concatenated as Concatenated,
)
from qahm_torch.nn.units import (
    OneHot as OneHot,
)
from qahm_torch.nn.units import (
    Spins as Spins,
)
from qahm_torch.nn.units import (
    VisibleDistribution as VisibleDistribution,
)
