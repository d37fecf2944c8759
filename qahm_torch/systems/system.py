r"""What a system is: cases that are run one by one, and a report of them."""

from __future__ import annotations

__all__ = ["Case", "Report", "System"]

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from matplotlib.figure import Figure

from qahm_torch.evaluation.style import paper_style

Case = dict[str, Any]
Report = dict[str, Any]


class System(ABC):
    r"""A system of the source, composed of the parts of this package, that can be measured anew.

    A system is a frozen dataclass of settings, with the full ones as defaults. It is run case by
    case (one arm with one seed, say), so that a run that was stopped goes on with the next case.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title: ClassVar[str]  # by which a table names it

    @classmethod
    @abstractmethod
    def small(cls) -> System:
        r"""Returns the system with settings that take seconds."""

    @abstractmethod
    def cases(self) -> list[Case]:
        r"""Returns the cases, each a dict of plain values by which `run_case` is called."""

    @abstractmethod
    def run_case(self, **case: Any) -> dict[str, Any]:
        r"""Returns what one case gives: plain numbers, strings and lists by name.

        It seeds its random numbers by what is in the case, so that no order of cases matters.
        """

    @abstractmethod
    def summarize(self, results: list[dict[str, Any]]) -> Report:
        r"""Returns the report of all results, each of which is a case joined with what it gave."""

    @abstractmethod
    def headline(self, report: Report) -> str:
        r"""Returns the number of the system, with its unit, in one line of a table."""

    def plot(self, report: Report) -> Figure:
        r"""Returns the figure of a report, in the style of all figures."""
        with paper_style():
            return self._plot(report)

    @abstractmethod
    def _plot(self, report: Report) -> Figure:
        r"""Returns the figure of a report."""
