r"""Priors that are Boltzmann machines, trained through samples of them."""

from qahm_torch.priors.boltzmann import BoltzmannPrior as BoltzmannPrior
from qahm_torch.priors.layer import QuantumPriorLayer as QuantumPriorLayer
from qahm_torch.priors.restoration import restore as restore
from qahm_torch.priors.semi_quantum import SemiQuantumPrior as SemiQuantumPrior
from qahm_torch.priors.stacking import stack as stack
