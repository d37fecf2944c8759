r"""Pictures of recognitions: their slack, what machines learn with them, and what draws take."""

from __future__ import annotations

__all__ = ["plot_device", "plot_known", "plot_learning"]

from typing import Any

INDEPENDENT, BEST, DERIVED = "independent", "independent, best per datum", "Boltzmann, derived"
AUTOREGRESSIVE, BOLTZMANN = "autoregressive", "Boltzmann"
TRAINED = (INDEPENDENT, "independent, deep", AUTOREGRESSIVE, BOLTZMANN, "Boltzmann, chains")
COLORS = {arm: f"C{k}" for k, arm in enumerate((*TRAINED, BEST))}
NATIVE = "native, one call"


def plot_known(axis: Any, rows: list[dict[str, Any]]) -> None:
    r"""Draws the slack of recognitions of known machines, by the number of parents."""
    rows = [{**row, "place": row["parents"]} for row in rows]
    derived = max((abs(row["slack"]) for row in rows if row["arm"] == DERIVED), default=0.0)
    _plot_points(axis, [row for row in rows if row["arm"] != DERIVED], "slack")
    least = min(row["slack_range"][0] for row in rows if row["arm"] != DERIVED)
    axis.set(yscale="log", ylim=(least / 500, None))  # with room for the legend
    axis.set(xticks=sorted({row["parents"] for row in rows}), xlabel="parents of a visible spin")
    axis.set_ylabel("slack of the bound (nats)", fontsize=8)
    axis.set_title(f"known machines\n({DERIVED}: below {2 * derived:.0e})", fontsize=8)
    axis.legend(fontsize=6.5, loc="lower left")


def plot_learning(axis: Any, rows: list[dict[str, Any]], number: str) -> None:
    r"""Draws the "slack" of what has learned, or its "gain" over independent spins."""
    places = list(dict.fromkeys((row["data"], row["objective"]) for row in rows))
    rows = [{**row, "place": places.index((row["data"], row["objective"]))} for row in rows]
    if number == "gain":
        _plot_points(axis, [row for row in rows if row["arm"] != INDEPENDENT], number)
        axis.axhline(0, color="k", lw=0.5)
        axis.set_ylabel("log p(v) above independent spins (nats)", fontsize=8)
    else:
        _plot_points(axis, rows, number)
        axis.set_yscale("log")
        axis.set_ylabel("slack of the bound (nats)", fontsize=8)
    labels = [f"{data}\n{objective}" for data, objective in places]
    axis.set_xticks(range(len(places)), labels, rotation=60, fontsize=6.5)
    axis.set_title("learned machines", fontsize=8)
    axis.legend(fontsize=6.5, loc="upper left" if number == "slack" else "best")


def plot_device(axis: Any, rows: list[dict[str, Any]]) -> None:
    r"""Draws the QPU time of a draw for all data, and its number of problems."""
    billed = [row for row in rows if row["arm"] != NATIVE]
    axis.barh([row["arm"] for row in billed], [row["qpu_seconds"] for row in billed], color="C0")
    for k, row in enumerate(billed):
        axis.text(row["qpu_seconds"], k, f" {row['problems']:.0f}", va="center", size=7)
    longest = max(row["qpu_seconds"] for row in billed)
    axis.set(xlabel="QPU seconds", xlim=(0, 1.2 * longest))
    axis.set_title(
        f"a draw for {billed[0]['data']} data\n(with the number of problems)", fontsize=8
    )
    axis.tick_params(axis="y", labelsize=7)
    axis.invert_yaxis()


def _plot_points(axis: Any, rows: list[dict[str, Any]], number: str) -> None:
    r"""Draws means and ranges of each arm, side by side at the places of the rows."""
    arms = [arm for arm in COLORS if any(row["arm"] == arm for row in rows)]
    for k, arm in enumerate(arms):
        found = [row for row in rows if row["arm"] == arm]
        x = [row["place"] + 0.1 * (k - (len(arms) - 1) / 2) for row in found]
        axis.plot(x, [row[number] for row in found], "o", ms=3.5, color=COLORS[arm], label=arm)
        low, high = zip(*(row[f"{number}_range"] for row in found), strict=True)
        axis.vlines(x, low, high, color=COLORS[arm], lw=1)
