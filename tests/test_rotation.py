import pytest
import torch

from qahm_torch.data import OptDigits, rotate


def images(number=3, side=6):
    return torch.rand(number, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3), (360, 4)])
def test_quarter_turns_move_pixels(degrees, turns):
    rows = images()
    turned = rotate(rows, torch.full((3,), float(degrees)))
    torch.testing.assert_close(turned, torch.rot90(rows, turns, (1, 2)), atol=1e-5, rtol=0)


def test_each_image_has_an_angle_of_its_own():
    rows = images(2)
    turned = rotate(rows, torch.tensor([0.0, 90.0]))
    torch.testing.assert_close(turned[0], rows[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[1], torch.rot90(rows[1]), atol=1e-5, rtol=0)


def test_what_comes_in_is_background():
    turned = rotate(torch.ones(1, 8, 8), torch.tensor([45.0]), background=-1.0)
    assert turned[0, 0, 0] == -1 and (turned[0, 3:5, 3:5] - 1).abs().max() < 1e-5
    level = rotate(torch.full((1, 8, 8), -1.0), torch.tensor([30.0]), background=-1.0)
    assert (level + 1).abs().max() < 1e-5


def test_turning_there_and_back_is_nearly_nothing():
    x = torch.linspace(-1, 1, 28)
    blob = torch.exp(-8 * ((x[:, None] - 0.2) ** 2 + (x[None] + 0.1) ** 2)).unsqueeze(0)
    angle = torch.tensor([33.0])
    assert (rotate(rotate(blob, angle), -angle) - blob).abs().max() < 0.05
    assert (rotate(blob, angle) - blob).abs().max() > 0.2


def test_a_number_of_angles_that_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"degrees have shape \(2,\), but 3 images"):
        rotate(images(), torch.zeros(2))


def test_small_digits_are_turned_where_that_is_wanted():
    plain, turned, again = (OptDigits(max_degrees=d) for d in (0.0, 90.0, 90.0))
    for data in (plain, turned, again):
        data.setup()
    assert torch.equal(turned.train, again.train)
    assert torch.equal(turned.train[:, 64:], plain.train[:, 64:])
    changed = (turned.train != plain.train).any(-1).double().mean()
    assert changed > 0.9
    levels = (turned.train[:, :64] + 1) * 8
    assert (levels - levels.round()).abs().max() < 1e-3
    with pytest.raises(ValueError, match="max_degrees is 200"):
        OptDigits(max_degrees=200)
