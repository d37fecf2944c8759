r"""Figures of curves and of brackets: what is drawn where, and how figures are saved."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pytorch_lightning.loggers import CSVLogger

from qahm_torch.evaluation import (
    Interval,
    intervals,
    learning_curves,
    read_metrics,
    save_figure,
)


def bounds(value=2.0):
    return intervals([("a", 1.0, value, 3.0)])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_curves_of_one_quantity_share_a_panel():
    curve = ([0, 1], [2.0, 1.0])
    names = ["train/loss_step", "train/loss_epoch", "val_loss", "beta", "value_error", "test_beta"]
    panels = learning_curves(dict.fromkeys(names, curve)).axes
    lines = {axes.get_title(loc="left"): axes.get_lines() for axes in panels}
    assert {title: [line.get_label() for line in drawn] for title, drawn in lines.items()} == {
        "loss (nats)": ["training, each step", "training, each epoch", "validation"],
        "inverse temperature of the samples": ["beta", "test"],
        "value error": ["value_error"],
    }
    train, _, val = lines["loss (nats)"]
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
    with pytest.raises(ValueError, match="metrics is empty, but"):
        learning_curves({})
    with pytest.raises(ValueError, match="'loss' has 2 steps, but 1 values"):
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


def test_what_never_changes_has_no_panel():
    still, moves = ([0, 1], [3.0, 3.0]), ([0, 1], [2.0, 1.0])
    panels = learning_curves({"prior/num_sweeps": still, "loss": moves}).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["loss (nats)"]
    # Where nothing changes, that is what there is to see.
    assert len(learning_curves({"prior/num_sweeps": still}).axes) == 1


def test_the_bracket_of_log_z_is_a_band_around_it():
    metrics = {"prior/log_z": ([3, 7], [5.0, 6.0]), "prior/log_z_width": ([3, 7], [1.0, 0.5])}
    (axes,) = learning_curves(metrics).axes
    assert axes.get_title(loc="left") == "log Z of the prior (nats)"
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (4.5, 6.25)


def test_a_long_curve_is_drawn_by_means_and_quantiles():
    steps = np.arange(6000)
    noise = np.random.default_rng(0).normal(size=6000)
    (axes,) = learning_curves({"train/loss": (steps.tolist(), (10 + noise).tolist())}).axes
    (line,), (band,) = axes.get_lines(), axes.collections
    assert len(line.get_xdata()) < 100
    assert abs(np.mean(line.get_ydata()) - noise.mean() - 10) < 1e-9
    heights = band.get_paths()[0].vertices[:, 1]
    assert 8.3 < heights.min() < 8.9 and 11.1 < heights.max() < 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the columns \[\], but .* 'step'"),
        ("epoch,loss\n0,1\n", r"has the columns \['epoch', 'loss'\], but .* 'step'"),
        ("step,loss\n0,1\n1,high\n", "'loss' is 'high' in line 3 of .*metrics.csv, but a number"),
        ("step,loss\n,1\n", "'step' is '' in line 2 of"),
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
        ([], "rows has no interval, but"),
        ([("a", 1, 2, float("inf"))], r"'a' is \(1.0, 2.0, inf\), but .* finite"),
        ([("a", 3, 2, 1)], "lower bound of 'a' is 3, but the upper one is 1"),
    ],
)
def test_intervals_that_cannot_be_drawn_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        intervals(rows)


def test_a_failure_in_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "figures" / "a.png"
    save_figure(bounds(), path)
    before = path.read_bytes()
    figure = bounds(2.5)

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
    save_figure(bounds(), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["a.png"]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path is '.*a\.jpg', but .* end it in \.png, \.pdf or"):
        save_figure(bounds(), tmp_path / "a.jpg")


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_figure_is_the_same_file_in_every_format(tmp_path, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        save_figure(bounds(), file)
    one, other = (file.read_bytes() for file in files)
    assert one == other
    if ending == "svg":
        # Texts stay texts.
        assert "log-likelihood (nats per datum)" in one.decode()


def test_no_display_is_touched(tmp_path):
    loaded = "matplotlib.pyplot" in sys.modules
    save_figure(learning_curves({"loss": ([0], [1.0])}), tmp_path / "a.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_matplotlib_waits_for_the_first_figure():
    script = "import sys, qahm_torch.evaluation as e\nprint('matplotlib' in sys.modules)\n"
    script += "e.intervals([('a', 1, 2, 3)])\nprint('matplotlib' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "True"], answer.stderr
