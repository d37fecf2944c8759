r"""Modules that know no sampler: units, networks, the Helmholtz machine, what a prior is."""

from qahm_torch.nn.autoregressive import (
    Autoregressive as Autoregressive,
    CausalLinear as CausalLinear,
)
from qahm_torch.nn.belief import BeliefNetwork as BeliefNetwork
from qahm_torch.nn.causal import (
    CausalConvolutions as CausalConvolutions,
    JointContext as JointContext,
)
from qahm_torch.nn.class_dreams import class_dreams as class_dreams
from qahm_torch.nn.class_reading import hide as hide
from qahm_torch.nn.counts import PoissonUnits as PoissonUnits
from qahm_torch.nn.discrete_vae import DiscreteVAE as DiscreteVAE
from qahm_torch.nn.fitting import Fitting as Fitting, load_fitting as load_fitting
from qahm_torch.nn.gray import ContinuousSpins as ContinuousSpins
from qahm_torch.nn.grouped import GroupedRecognition as GroupedRecognition
from qahm_torch.nn.image_machine import ImageMachine as ImageMachine
from qahm_torch.nn.levels import (
    DiscretizedLogistic as DiscretizedLogistic,
    OrdinalUnits as OrdinalUnits,
)
from qahm_torch.nn.machine import HelmholtzMachine as HelmholtzMachine
from qahm_torch.nn.missing import Flagged as Flagged, flag_missing as flag_missing
from qahm_torch.nn.mixed import MixedDistribution as MixedDistribution, MixedUnits as MixedUnits
from qahm_torch.nn.mlp import NormalizedMLP as NormalizedMLP
from qahm_torch.nn.prior import Prior as Prior
from qahm_torch.nn.real import LogisticUnits as LogisticUnits, NormalUnits as NormalUnits
from qahm_torch.nn.recognition import Draw as Draw, Recognition as Recognition
from qahm_torch.nn.residual import (
    ResidualDecoder as ResidualDecoder,
    ResidualEncoder as ResidualEncoder,
)
from qahm_torch.nn.smoothing import Smoothing as Smoothing, smooth as smooth
from qahm_torch.nn.table_machine import TableMachine as TableMachine
from qahm_torch.nn.units import (
    Concatenated as Concatenated,
    OneHot as OneHot,
    Spins as Spins,
    Units as Units,
)
