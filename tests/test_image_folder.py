r"""Images in a folder: pixels, classes, and what is wrong told with the file."""

import pytest
import torch
from PIL import Image

from qahm_torch.data import ImageFolder


def save(path, color, size=(5, 3)):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_colors_and_classes(tmp_path):
    save(tmp_path / "cats" / "a.png", (255, 0, 0))
    save(tmp_path / "dogs" / "b.png", (0, 0, 255), size=(8, 8))
    data = ImageFolder(tmp_path, size=(2, 3), color=True)
    data.setup()
    rows = {tuple(row[-2:].tolist()): row[:-2].tolist() for row in data.train}
    assert data.classes == ["cats", "dogs"] and data.image_shape == (2, 3, 3)
    assert rows == {(1, -1): [1, -1, -1] * 6, (-1, 1): [-1, -1, 1] * 6}


def test_gray_levels_row_by_row_and_bits(tmp_path):
    image = Image.new("L", (2, 2))
    image.putdata([0, 51, 204, 255])
    image.save(tmp_path / "a.png")
    gray, bits = (ImageFolder(tmp_path, size=(2, 2), binary=b) for b in (False, True))
    gray.setup()
    bits.setup()
    assert gray.image_shape == bits.image_shape == (2, 2)
    torch.testing.assert_close(gray.train, torch.tensor([[-1, -0.6, 0.6, 1]]))
    assert bits.train.tolist() == [[-1, -1, 1, 1]]


def test_a_broken_file_is_named(tmp_path):
    save(tmp_path / "a.png", "red")
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image"):
        ImageFolder(tmp_path).setup()


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(ValueError, match="has no images"):
        ImageFolder(tmp_path)
    save(tmp_path / "cats" / "a.png", "red")
    with pytest.raises(ValueError, match="one class only, 'cats'"):
        ImageFolder(tmp_path)
    (tmp_path / "dogs").mkdir()
    with pytest.raises(ValueError, match="dogs has no images"):
        ImageFolder(tmp_path)
    save(tmp_path / "c.png", "red")
    with pytest.raises(ValueError, match=r"c\.png is beside folders"):
        ImageFolder(tmp_path)
