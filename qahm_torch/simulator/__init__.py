r"""The simulated annealer: its chip, what it is asked, what it does wrong."""

from qahm_torch.simulator.simulated_annealer import SimulatedAnnealer as SimulatedAnnealer
