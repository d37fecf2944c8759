r"""Priors: Boltzmann machines, and what else has a log-probability and samples."""

from qahm_torch.priors.boltzmann import BoltzmannPrior as BoltzmannPrior
from qahm_torch.priors.born import BornPrior as BornPrior
from qahm_torch.priors.circuit import (
    CircuitPrior as CircuitPrior,
    hardware_efficient as hardware_efficient,
    trapped_ion as trapped_ion,
)
from qahm_torch.priors.conditional import ConditionalBoltzmann as ConditionalBoltzmann
from qahm_torch.priors.expectation import IsingExpectation as IsingExpectation
from qahm_torch.priors.iqp import IQPCircuit as IQPCircuit, ParityMMD as ParityMMD
from qahm_torch.priors.layer import QuantumPriorLayer as QuantumPriorLayer
from qahm_torch.priors.mmd import (
    SampledMMD as SampledMMD,
    gaussian_kernel as gaussian_kernel,
    squared_mmd as squared_mmd,
)
from qahm_torch.priors.parities import (
    ParityMoments as ParityMoments,
    draw_subsets as draw_subsets,
    parity_moments as parity_moments,
    product_moments as product_moments,
)
from qahm_torch.priors.pennylane_device import PennyLanePrior as PennyLanePrior
from qahm_torch.priors.posterior import exact_posterior as exact_posterior
from qahm_torch.priors.quantum_boltzmann import QuantumGibbsPrior as QuantumGibbsPrior
from qahm_torch.priors.restoration import restore as restore
from qahm_torch.priors.semi_quantum import SemiQuantumPrior as SemiQuantumPrior
from qahm_torch.priors.sharing import from_first_process as from_first_process
from qahm_torch.priors.stacking import stack as stack
