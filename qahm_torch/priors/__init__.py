r"""Priors, and recognitions, that are Boltzmann machines, trained through samples of them."""

from qahm_torch.priors.boltzmann import BoltzmannPrior as BoltzmannPrior
from qahm_torch.priors.conditional import ConditionalBoltzmann as ConditionalBoltzmann
from qahm_torch.priors.layer import QuantumPriorLayer as QuantumPriorLayer
from qahm_torch.priors.posterior import exact_posterior as exact_posterior
from qahm_torch.priors.quantum_gibbs import QuantumGibbsPrior as QuantumGibbsPrior
from qahm_torch.priors.restoration import restore as restore
from qahm_torch.priors.semi_quantum import SemiQuantumPrior as SemiQuantumPrior
from qahm_torch.priors.stacking import stack as stack
