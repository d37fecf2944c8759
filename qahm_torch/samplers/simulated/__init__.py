r"""The simulated annealer: its chip, what it is asked, what it does wrong."""

from qahm_torch.samplers.simulated.annealer import SimulatedAnnealer

__all__ = ["SimulatedAnnealer"]
