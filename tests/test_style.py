r"""The colors of figures: whether they differ on gray paper and for color-blind people."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from qahm_torch.evaluation.style import PALETTE

# Of Machado, Oliveira and Fernandes (2009), for linear RGB, at full severity.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(colors, sight="normal"):
    r"""Returns colors in CIELAB, as they are seen."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    xyz = seen @ np.array(TO_XYZ).T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def least_distance(points):
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_colors_differ_for_everybody(sight):
    assert least_distance(lab(PALETTE, sight)) > 15
    # The twin: matplotlib's own red and green, as some see them.
    if sight == "deuteranopia":
        assert least_distance(lab(["#d62728", "#8c564b", "#2ca02c"], sight)) < 15


def test_colors_differ_in_gray():
    lightness = lab(PALETTE)[:, :1]
    assert least_distance(lightness) > 4
    # A figure with few lines has those that differ most.
    assert least_distance(lightness[:3]) > 20
