r"""Draws the picture at the top of the README: the parts of a machine, and what one has learned.

    python docs/sketch.py

The images are of the machine `mnist28_bits` that comes with the package: one that it has dreamed
goes through the parts, and others are at the right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

import qahm_torch as qt

OUTPUT = Path(__file__).parent / "sketch.png"
BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#555555"  # told apart in any sight, and in gray
SIZE, ROWS, COLUMNS = 28, 4, 7
SHOWN = 10  # spins drawn on the ring


def main() -> None:
    r"""Draws the picture."""
    torch.manual_seed(0)
    machine = qt.HelmholtzMachine.load("mnist28_bits").eval()
    with torch.no_grad():
        dreams = machine.generate(ROWS * COLUMNS + 1).view(-1, SIZE, SIZE)
    figure, axes = plt.subplots(figsize=(10, 2.9), dpi=150)
    axes.set(xlim=(0, 10), ylim=(0, 2.9))
    axes.axis("off")
    _image(axes, dreams[0], (0.1, 0.95), 1.0)
    _network(axes, (1.75, 0.85), "recognition", up=True)
    _ring(axes, (4.1, 1.45), 0.62)
    _network(axes, (5.3, 0.85), "generator", up=False)
    grid = dreams[1:].view(ROWS, COLUMNS, SIZE, SIZE).transpose(1, 2)
    _image(axes, grid.reshape(ROWS * SIZE, COLUMNS * SIZE), (7.2, 0.7), 1.5)
    for start, stop in ((1.15, 1.7), (2.8, 3.4), (4.8, 5.25), (6.35, 7.15)):
        arrow = FancyArrowPatch((start, 1.45), (stop, 1.45), arrowstyle="-|>", mutation_scale=12)
        axes.add_patch(arrow)
    _label(axes, 0.6, 0.68, "data")
    _label(axes, 4.1, 0.42, "QuantumPriorLayer: a Boltzmann machine of bits,")
    _label(axes, 4.1, 0.18, "sampled by an annealer, or by a simulated one")
    _label(axes, 8.5, 0.42, "dreams")
    figure.savefig(OUTPUT, bbox_inches="tight", pad_inches=0.05)


def _image(axes: Any, pixels: torch.Tensor, corner: tuple[float, float], height: float) -> None:
    width = height * pixels.shape[1] / pixels.shape[0]
    extent = (corner[0], corner[0] + width, corner[1], corner[1] + height)
    axes.imshow(pixels, cmap="gray_r", extent=extent, aspect="equal", zorder=2)
    axes.add_patch(Rectangle(corner, width, height, fill=False, color=GRAY, lw=0.8, zorder=3))


def _network(axes: Any, corner: tuple[float, float], name: str, up: bool) -> None:
    box = FancyBboxPatch(
        corner, 1.0, 1.2, boxstyle="round,pad=0.03", facecolor="white", edgecolor=BLUE, lw=1.5
    )
    axes.add_patch(box)
    _label(axes, corner[0] + 0.5, corner[1] + 0.78, name)
    formula = r"$q(u\,|\,v)$" if up else r"$p(v\,|\,u)$"
    _label(axes, corner[0] + 0.5, corner[1] + 0.38, formula)


def _ring(axes: Any, center: tuple[float, float], radius: float) -> None:
    angles = np.linspace(0, 2 * np.pi, SHOWN, endpoint=False)
    x, y = center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)
    for i in range(SHOWN):
        for j in range(i):
            axes.plot([x[i], x[j]], [y[i], y[j]], color=ORANGE, lw=0.5, alpha=0.6, zorder=1)
    filled = np.array([0, 2, 3, 6, 9])
    axes.scatter(x, y, s=46, facecolor="white", edgecolor=ORANGE, lw=1.5, zorder=2)
    axes.scatter(x[filled], y[filled], s=46, color=ORANGE, zorder=3)
    _label(axes, center[0], center[1] + radius + 0.32, r"$p(u) \propto e^{-E(u)}$")


def _label(axes: Any, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color="black")


if __name__ == "__main__":
    main()
