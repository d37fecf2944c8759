import pytest
import torch

from qahm_torch.data import hide_block, hide_pixels


def rows_of(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (number, 46), generator=generator) * 2.0 - 1


@pytest.mark.parametrize(("fraction", "number"), [(0.0, 0), (0.3, 13), (1.0, 42)])
def test_a_fraction_of_the_pixels_of_each_row_is_hidden(fraction, number):
    rows = rows_of(50)
    hidden = hide_pixels(rows, 42, fraction)
    lost = hidden.isnan()
    assert (lost[:, :42].sum(-1) == number).all() and not lost[:, 42:].any()
    assert torch.equal(hidden[~lost], rows[~lost])
    assert not rows.isnan().any()


def test_each_pixel_is_hidden_as_often_as_another():
    hidden = hide_pixels(torch.ones(4000, 10), 10, 0.3, torch.Generator().manual_seed(0))
    rates = hidden.isnan().double().mean(0)
    assert ((rates - 0.3).abs() < 5 * (0.3 * 0.7 / 4000) ** 0.5).all()


def test_a_block_is_hidden_anywhere_within_the_image():
    rows, lost_at = rows_of(500), set()
    hidden = hide_block(rows, (7, 6), (3, 4), torch.Generator().manual_seed(0))
    lost = hidden.isnan()
    assert torch.equal(hidden[~lost], rows[~lost]) and not lost[:, 42:].any()
    for image in lost[:, :42].view(-1, 7, 6):
        places = image.nonzero()
        (top, left), (bottom, right) = places.min(0).values.tolist(), places.max(0).values.tolist()
        assert (bottom - top, right - left, len(places)) == (2, 3, 12)
        lost_at.add((top, left))
    assert lost_at == {(top, left) for top in range(5) for left in range(3)}


def test_a_block_of_an_image_in_color_has_all_colors_of_its_pixels():
    rows = torch.ones(200, 7 * 5 * 3 + 2)
    hidden = hide_block(rows, (7, 5, 3), (2, 4), torch.Generator().manual_seed(0)).isnan()
    pixels = hidden[:, :-2].view(-1, 7, 5, 3)
    assert torch.equal(pixels.any(-1), pixels.all(-1)) and not hidden[:, -2:].any()
    gray = hide_block(rows[:, :35], (7, 5), (2, 4), torch.Generator().manual_seed(0)).isnan()
    assert torch.equal(pixels.all(-1), gray.view(-1, 7, 5))


def test_a_block_may_be_the_whole_image():
    assert hide_block(torch.ones(3, 6), (2, 3), (2, 3)).isnan().all()


@pytest.mark.parametrize("hide", [hide_pixels, hide_block])
def test_places_follow_the_generator(hide):
    arguments = (42, 0.3) if hide is hide_pixels else ((7, 6), (3, 4))

    def places(seed):
        generator = torch.Generator().manual_seed(seed)
        return hide(rows_of(20), *arguments, generator).isnan()

    assert torch.equal(places(1), places(1)) and not torch.equal(places(1), places(2))


def test_what_cannot_be_hidden_is_named():
    with pytest.raises(ValueError, match=r"fraction is 1\.5"):
        hide_pixels(rows_of(1), 42, 1.5)
    with pytest.raises(ValueError, match="num_pixels is 47"):
        hide_pixels(rows_of(1), 47, 0.5)
    with pytest.raises(ValueError, match=r"block_shape\[1\] is 7"):
        hide_block(rows_of(1), (7, 6), (3, 7))
    with pytest.raises(ValueError, match="the number of values of pixels is 48"):
        hide_block(rows_of(1), (8, 6), (3, 4))
