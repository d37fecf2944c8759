import pytest
import torch
from sklearn.datasets import load_digits

from qahm_torch.data import OptDigits42


def ready(**settings):
    data = OptDigits42(**settings)
    data.setup()
    return data


def test_it_describes_itself():
    data = OptDigits42()
    assert (data.image_shape, data.num_pixels, data.num_classes) == ((7, 6), 42, 4)
    assert (data.num_visible, data.num_levels) == (46, 2)
    assert OptDigits42(classes=False).num_visible == 42


def test_images_are_cut_from_those_of_scikit_learn():
    digits, data = load_digits(), ready()
    rows = torch.cat([data.train, data.val, data.test])
    found = sorted((row[:42].tolist(), 1 + row[42:].argmax().item()) for row in rows.cpu())
    expected = []
    for image, digit in zip(digits.images, digits.target, strict=True):
        if digit in (1, 2, 3, 4):
            pixels = [2.0 * (image[y, x] > 7.5) - 1 for y in range(7) for x in range(1, 7)]
            expected.append((pixels, int(digit)))
    assert found == sorted(expected)
    assert (rows[:, 42:].sum(-1) == -2).all()


def test_splits_are_a_function_of_the_seed():
    data = ready(num_val=50, num_test=150, seed=3)
    assert [len(part) for part in (data.train, data.val, data.test)] == [523, 50, 150]
    assert torch.equal(ready(num_val=50, num_test=150, seed=3).train, data.train)
    assert not torch.equal(ready(num_val=50, num_test=150, seed=4).train, data.train)


def test_too_few_images_are_told():
    with pytest.raises(ValueError, match=r"num_val \+ num_test is 723"):
        OptDigits42(num_val=523, num_test=200)
