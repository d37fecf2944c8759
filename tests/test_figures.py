"""Tests of the figures: what is drawn where, and how it is saved."""

import os
import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from pytorch_lightning.loggers import CSVLogger

from qahm_torch.evaluation.figures import (
    Interval,
    generated_and_nearest,
    image_grid,
    intervals,
    learning_curves,
    read_metrics,
    save_figure,
)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def drawn(figure, path):
    """The gray levels of a figure as saved, (rows, columns) in 0, ..., 255."""
    save_figure(figure, path)
    pixels = np.round(imread(path) * 255).astype(int)
    assert (pixels[..., 3] == 255).all()
    assert (pixels[..., :1] == pixels[..., :3]).all()
    return pixels[..., 0]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_pixel_of_an_image_is_a_square_of_its_gray(tmp_path):
    images = uniform(3, 16, 16)
    pixels = drawn(image_grid(images, columns=2), tmp_path / "grid.png")
    side, gap, margin = 96, 6, 16
    assert pixels.shape == (2 * margin + 2 * side + gap, 2 * margin + 2 * side + gap)
    for place, image in enumerate(images):
        top = margin + place // 2 * (side + gap)
        left = margin + place % 2 * (side + gap)
        expected = ((image + 1) / 2 * 255).repeat_interleave(6, 0).repeat_interleave(6, 1)
        found = pixels[top : top + side, left : left + side]
        assert np.abs(found - expected.numpy()).max() < 2
    assert (pixels[margin + side + gap :, margin + side + gap :] == 255).all()
    assert (pixels[margin + side : margin + side + gap] == 255).all()


def test_black_is_minus_one_whatever_the_range_of_the_images(tmp_path):
    pixels = drawn(image_grid(torch.zeros(1, 8, 8)), tmp_path / "gray.png")
    assert set(np.unique(pixels)) <= {127, 128, 255}
    pixels = drawn(image_grid(-torch.ones(1, 8, 8)), tmp_path / "black.png")
    assert set(np.unique(pixels)) == {0, 255}


@pytest.mark.parametrize("num_images", [1, 4, 11])
@pytest.mark.parametrize("shape", [(28, 28), (5, 9), (200, 120)])
def test_grids_of_any_size_keep_their_pixels_whole(tmp_path, num_images, shape):
    images = -torch.ones(num_images, *shape)
    pixels = drawn(image_grid(images, columns=5), tmp_path / "grid.png")
    scale = max(1, round(96 / max(shape)))
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels == 0).sum() == images.numel() * scale**2
    if num_images == 1:
        assert pixels.shape == (32 + scale * shape[0], 32 + scale * shape[1])


def test_captions_stand_under_their_images():
    figure = image_grid(uniform(5, 16, 16), columns=3, captions=[7, 0, "one", 2, 9])
    (axes,) = figure.axes
    assert texts(axes) == ["7", "0", "one", "2", "9"]
    xs = [text.get_position()[0] for text in axes.texts]
    ys = [text.get_position()[1] for text in axes.texts]
    assert xs == [7.5, 24.5, 41.5, 7.5, 24.5]
    assert ys[0] == ys[1] == ys[2] > 15.5
    assert ys[3] == ys[4] > ys[0] + 16


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (torch.zeros(4, 16), {}, r"images \(n, rows, cols\), got \(4, 16\)"),
        (torch.zeros(0, 4, 4), {}, r"got \(0, 4, 4\)"),
        (torch.full((1, 4, 4), 255.0), {}, r"must lie in \[-1, 1\], got values from 255 to 255"),
        (torch.full((1, 4, 4), torch.nan), {}, r"must lie in \[-1, 1\], got values from nan"),
        (torch.zeros(2, 4, 4), {"captions": "a"}, "got 1 captions for 2 images"),
        (torch.zeros(2, 4, 4), {"columns": 0}, "columns must be a positive number .* got 0"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused(images, settings, message):
    with pytest.raises(ValueError, match=message):
        image_grid(images, **settings)


def test_nearest_images_are_drawn_below_the_generated(tmp_path):
    generated, nearest = -torch.ones(4, 16, 16), torch.zeros(4, 16, 16)
    figure = generated_and_nearest(generated, nearest, torch.tensor([1.0, 2, 3, 4]), "3141")
    above, below = figure.axes
    assert above.get_position().y0 > below.get_position().y1
    assert above.get_title(loc="left") == "Generated images"
    assert below.get_title(loc="left") == "Nearest training images  (mean distance 2.50)"
    assert (texts(above), texts(below)) == ([], ["3", "1", "4", "1"])
    for axes, gray in ((above, -1), (below, 0)):
        shown = axes.images[0].get_array()
        assert set(np.unique(shown[~np.isnan(shown)])) == {gray}


def test_titles_fit_into_the_figure_of_one_image():
    figure = generated_and_nearest(uniform(1, 16, 16), uniform(1, 16, 16), torch.ones(1))
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height


def test_generated_and_nearest_must_fit_each_other():
    images = uniform(3, 8, 8)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\) of generated, got \(2, 8, 8\)"):
        generated_and_nearest(images, images[:2])
    with pytest.raises(ValueError, match=r"distances must be \(3,\), .* got \(3, 1\)"):
        generated_and_nearest(images, images, torch.ones(3, 1))
    with pytest.raises(ValueError, match="got 2 captions for 3 nearest"):
        generated_and_nearest(images, images, labels=[1, 2])
    with pytest.raises(ValueError, match="generated must lie in"):
        generated_and_nearest(images + 5, images)


def test_curves_of_one_quantity_share_a_panel():
    curve = ([0, 1], [2.0, 1.0])
    names = ["train/loss_step", "train/loss_epoch", "val_loss", "beta", "value_error", "test_beta"]
    panels = learning_curves(dict.fromkeys(names, curve)).axes
    lines = {axes.get_title(loc="left"): axes.get_lines() for axes in panels}
    assert {title: [line.get_label() for line in drawn] for title, drawn in lines.items()} == {
        "loss": ["train/loss_step", "train/loss_epoch", "val_loss"],
        "beta": ["beta", "test_beta"],
        "value_error": ["value_error"],
    }
    train, _, val = lines["loss"]
    assert train.get_color() != val.get_color()
    assert train.get_xydata().tolist() == [[0, 2], [1, 1]]
    assert [axes.get_legend() is None for axes in panels] == [False, False, True]


def test_as_many_panels_as_quantities_on_common_steps():
    panels = learning_curves({f"metric {i}": ([i], [0.5]) for i in range(7)}).axes
    assert len(panels) == 7
    assert len({axes.get_xlim() for axes in panels}) == 1


def test_values_that_are_not_finite_are_drawn_without_a_warning(tmp_path):
    values = [1.0, float("nan"), float("inf"), 2.0]
    save_figure(learning_curves({"loss": ([0, 1, 2, 3], values)}), tmp_path / "a.png")
    only = learning_curves({"loss": ([0], [float("nan")])})
    save_figure(only, tmp_path / "b.png")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_curves_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="no metric to draw"):
        learning_curves({})
    with pytest.raises(ValueError, match="'loss' has 2 steps but 1 values"):
        learning_curves({"loss": ([0, 1], [1.0])})


def test_metrics_of_lightning_are_read_back(tmp_path):
    logger = CSVLogger(tmp_path, name="run", version=0)
    logger.log_metrics({"train_loss": torch.tensor(3.5), "epoch": 0}, step=9)
    logger.log_metrics({"train_loss": 2.25, "epoch": 0}, step=19)
    logger.save()
    logger.log_metrics({"val_loss": float("nan"), "log_z": -1e-7, "epoch": 0}, step=19)
    logger.log_metrics({"val_loss": float("inf")}, step=29)
    logger.save()
    metrics = read_metrics(os.path.join(logger.log_dir, "metrics.csv"))
    assert metrics.keys() == {"train_loss", "val_loss", "log_z"}
    assert metrics["train_loss"] == ([9, 19], [3.5, 2.25])
    assert metrics["log_z"] == ([19], [-1e-7])
    assert metrics["val_loss"][0] == [19, 29]
    assert np.array_equal(metrics["val_loss"][1], [np.nan, np.inf], equal_nan=True)
    assert len(learning_curves(metrics).axes) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'step'"),
        ("epoch,loss\n0,1\n", r"has no column 'step', only \['epoch', 'loss'\]"),
        ("step,loss\n0,1\n1,high\n", "line 3: 'loss' must be a number, got 'high'"),
        ("step,loss\n,1\n", "line 2: 'step' must be a number, got ''"),
    ],
)
def test_files_that_are_no_metrics_are_refused(tmp_path, text, message):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_metrics(tmp_path / "metrics.csv")


def test_intervals_are_drawn_from_the_top_with_their_numbers():
    rows = [("independent", -96.1, -95.8, -95.4), Interval("RBM", -90.2, -91, -88.7)]
    (axes,) = intervals(rows, quantity="nats").axes
    assert axes.get_xlabel() == "nats"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["independent", "RBM"]
    assert axes.yaxis_inverted()
    low, high = axes.get_xlim()
    assert low < -96.1 < -88.7 < high
    minus = "\N{MINUS SIGN}"
    assert texts(axes) == [
        f"{minus}95.80  [{minus}96.10, {minus}95.40]",
        f"{minus}91.00  [{minus}90.20, {minus}88.70]",
    ]
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots] == [(-95.8, 0), (-91, 1)]


def test_numbers_of_intervals_fit_into_the_figure(tmp_path):
    figure = intervals([("a label of some length, with a setting", -1234.5, -1200.25, -1000.125)])
    save_figure(figure, tmp_path / "intervals.png")
    box = figure.axes[0].get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no interval to draw"),
        ([("a", 1, 2, float("inf"))], "of 'a' must be finite"),
        ([("a", 3, 2, 1)], "lower bound of 'a' exceeds the upper: 3 > 1"),
    ],
)
def test_intervals_that_cannot_be_drawn_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        intervals(rows)


def test_a_failure_in_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "figures" / "a.png"
    save_figure(image_grid(uniform(1, 8, 8)), path)
    before = path.read_bytes()
    figure = image_grid(uniform(1, 8, 8, seed=1))

    def fail_half_way(*args, **kwargs):
        raise OSError("no space left")

    figure.axes[0].draw = fail_half_way
    with pytest.raises(OSError, match="no space left"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.png"]


def test_a_figure_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    save_figure(image_grid(uniform(1, 8, 8)), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["a.png"]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"saved as PNG, got '.*a\.jpg'; end the name in \.png"):
        save_figure(image_grid(uniform(1, 8, 8)), tmp_path / "a.jpg")


def test_no_display_is_touched(tmp_path):
    loaded = "matplotlib.pyplot" in sys.modules
    save_figure(learning_curves({"loss": ([0], [1.0])}), tmp_path / "a.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
