r"""Figures of the rows that a model of a table generates."""

from __future__ import annotations

__all__ = ["table_figures"]

from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.data import MixedTable, TableData
from qahm_torch.data.table_file import plain
from qahm_torch.evaluation import ColumnPanel, column_histograms, correlation_scatter

# More panels than this are none to look at.
_MOST_COLUMNS = 12


def table_figures(data: MixedTable, units: Tensor) -> dict[str, Figure]:
    r"""Returns histograms of columns, and correlations of their units, by the figures' names.

    Of many columns the first are drawn, and the class.

    Arguments:
        data: The table, set up.
        units: Generated rows of shape (n, num_visible).
    """
    train, generated = data.decode(data.train), data.decode(units)
    known = [k for k in range(len(data.columns)) if not bool(train[:, k].isnan().all())]
    shown = known[:_MOST_COLUMNS]
    if data.num_classes and known[-1] not in shown:
        shown[-1] = known[-1]
    panels = [_panel(data, k, train[:, k], generated[:, k]) for k in shown]
    figures = {"columns": column_histograms(panels)}
    if len(data.columns) > 1:
        sizes = [column.num_units for column in data.columns]
        figures["correlations"] = correlation_scatter(data.train, units, sizes)
    return figures


def _panel(data: MixedTable, k: int, train: Tensor, generated: Tensor) -> ColumnPanel:
    column = data.columns[k]
    if column.is_real:
        return ColumnPanel(column.name, train, generated, is_log=column.kind == "positive")
    names: list[object] = list(range(column.num_categories or 2))
    if isinstance(data, TableData):
        names = [plain(cell) for cell in data.categories[column.name]]
    return ColumnPanel(column.name, train, generated, [str(name) for name in names])
