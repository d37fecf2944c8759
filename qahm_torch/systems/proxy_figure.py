r"""The figure of the proxy for the direction of the gradient."""

from __future__ import annotations

__all__ = ["proxy_figure"]

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from qahm_torch.systems.system import Report

Rows = dict[tuple[str, float], dict[str, Any]]


def proxy_figure(report: Report, arms: Sequence[str], embedded: str, alone: str) -> Figure:
    r"""Returns the likelihoods, the cosines of raw gradients, and the weights of the device.

    Arguments:
        report: The report of `GradientProxy`.
        arms: The arms that write down a machine.
        embedded: The arm of the gray box.
        alone: The arm that has no device.
    """
    figure = Figure(figsize=(11.5, 3.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    rows: Rows = {(row["arm"], row["strength"]): row for row in report["rows"]}
    strengths = report["settings"]["strengths"]
    drawn = [(arm, "nats", f"C{k}") for k, arm in enumerate(arms)]
    drawn += [(embedded, "device_nats", f"C{len(arms)}"), (arms[0], "device_nats", "k")]
    for arm, of, color in drawn:
        _band(left, strengths, [rows[arm, s] for s in strengths], of, report, color)
    height = rows[alone, 0.0]["nats"] - report["best"]
    left.axhline(height, color="k", ls=":", lw=0.8, label=alone)
    left.set_xscale("symlog", linthresh=0.05)
    left.set_xticks(strengths, [f"{s:g}" for s in strengths])
    left.set(xlabel="strength of lasting errors", ylabel="nats above the best", yscale="log")
    left.legend(fontsize=6.5)
    _plot_cosines(middle, report)
    for strength in strengths:
        curve = rows["mix", strength]["weight_curve"]
        right.plot(range(1, len(curve) + 1), curve, lw=0.9, label=f"errors {strength:g}")
    right.set(xlabel="updates", ylabel="weight of the device in the mixture", ylim=(0, 1))
    right.legend(fontsize=7)
    return figure


def _band(
    axis: Any,
    strengths: Sequence[float],
    rows: list[dict[str, Any]],
    of: str,
    report: Report,
    color: str,
) -> None:
    is_device = of == "device_nats"
    name = f"{rows[0]['arm']}, law of the device" if is_device else rows[0]["arm"]
    above = [row[of] - report["best"] for row in rows]
    axis.plot(strengths, above, "s--" if is_device else "o-", ms=3, lw=1, color=color, label=name)
    low, high = zip(*(row[f"{of}_range"] for row in rows), strict=True)
    ends = ([value - report["best"] for value in side] for side in (low, high))
    axis.fill_between(strengths, *ends, color=color, alpha=0.15, lw=0)


def _plot_cosines(axis: Any, report: Report) -> None:
    r"""Plots the cosines of the raw gradients of one run without errors and of one with most."""
    settings = report["settings"]
    for color, strength in enumerate((settings["strengths"][0], settings["strengths"][-1])):
        checks = next(
            result["checks"]
            for result in report["results"]
            if (result["arm"], result["strength"]) == ("raw", strength)
        )
        x = [settings["every"] * (k + 1) for k in range(len(checks))]
        name = f"errors {strength:g}"
        axis.plot(x, [c["plain_cosine"] for c in checks], ".-", lw=0.8, color=f"C{color}")
        low, high = [c["lower"] for c in checks], [c["upper"] for c in checks]
        axis.fill_between(x, low, high, color=f"C{color}", alpha=0.2, lw=0, label=name)
    axis.axhline(0, color="k", lw=0.5)
    axis.set(xlabel="updates", ylabel="cosine of the raw gradient (dots), and interval")
    axis.legend(fontsize=7)
