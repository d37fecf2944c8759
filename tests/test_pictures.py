r"""Figures of images: what is drawn where."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from qahm_torch.evaluation import generated_and_nearest, image_grid, save_figure


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def drawn(figure, path):
    r"""The gray levels of a figure as saved, (rows, columns) in 0, ..., 255."""
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


def test_labels_stand_to_the_left_of_their_rows(tmp_path):
    long = "a label of some length, with a setting"
    plain = drawn(image_grid(-torch.ones(6, 16, 16), columns=3), tmp_path / "plain.png")
    figure = image_grid(-torch.ones(6, 16, 16), row_labels=["data", long])
    (axes,) = figure.axes
    assert texts(axes) == ["data", long]
    renderer = FigureCanvasAgg(figure).get_renderer()
    images = axes.get_window_extent(renderer)
    for row, text in enumerate(axes.texts):
        box = text.get_window_extent(renderer)
        assert 0 <= box.x0 < box.x1 < images.x0
        assert text.get_position()[1] == row * (16 + 1) + 7.5
    # The images themselves are as without labels.
    pixels = drawn(figure, tmp_path / "labels.png")
    width = plain.shape[1] - 16
    assert np.array_equal(pixels[:, -width:], plain[:, -width:])


def test_labels_of_low_rows_do_not_lie_on_each_other():
    figure = image_grid(-torch.ones(3, 1, 200), row_labels=["first", "second", "third"])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert boxes[0].y0 >= boxes[1].y1 and boxes[1].y0 >= boxes[2].y1


@pytest.mark.parametrize("num_images", [*range(1, 101), 360, 997])
def test_rows_are_whole_where_there_are_such(num_images):
    image = torch.zeros(1, 1, 1).expand(num_images, 1, 1)
    (axes,) = image_grid(image).axes
    shown = ~np.isnan(axes.images[0].get_array().filled(np.nan))[::2, ::2]
    num_rows, columns = shown.shape
    assert shown.sum() == num_images and columns >= num_rows
    divisors = [
        n
        for n in range(1, num_images + 1)
        if num_images % n == 0 and num_images <= n * n <= 9 * num_images
    ]
    if divisors:
        assert shown.all() and columns == divisors[0]
    else:  # No row but the last lacks any, and that lacks few.
        assert shown[:-1].all() and shown[-1].sum() >= columns / 2


def test_generated_images_stand_in_whole_rows_above_their_nearest():
    images = uniform(40, 8, 8)
    above, below = generated_and_nearest(images, images).axes
    for axes in (above, below):
        assert axes.images[0].get_array().shape == (4 * 8 + 3, 10 * 8 + 9)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (torch.zeros(4, 16), {}, r"images has shape \(4, 16\), but images have \(n, rows, cols\)"),
        (torch.zeros(0, 4, 4), {}, r"images has shape \(0, 4, 4\), but"),
        (torch.full((1, 4, 4), 255.0), {}, r"from 255 to 255, but they lie in \[-1, 1\]"),
        (torch.full((1, 4, 4), torch.nan), {}, r"images has values from nan"),
        (torch.zeros(2, 4, 4), {"captions": "a"}, "images has 2 images, but 1 captions"),
        (torch.zeros(2, 4, 4), {"columns": 0}, "columns is 0, but at least 1"),
        (
            torch.zeros(8, 4, 4),
            {"columns": 4, "row_labels": "a"},
            "8 images in 2 rows of 4, but 1",
        ),
        (torch.zeros(2, 4, 4), {"row_labels": "abc"}, "in 2 rows of 1, but 3 row_labels"),
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
    with pytest.raises(ValueError, match=r"nearest has shape \(2, 8, 8\), .* \(3, 8, 8\)"):
        generated_and_nearest(images, images[:2])
    with pytest.raises(ValueError, match=r"distances has shape \(3, 1\), but .* \(3,\)"):
        generated_and_nearest(images, images, torch.ones(3, 1))
    with pytest.raises(ValueError, match="nearest has 3 images, but 2 captions"):
        generated_and_nearest(images, images, labels=[1, 2])
    with pytest.raises(ValueError, match="generated has values from"):
        generated_and_nearest(images + 5, images)
