import pytest
import torch

from qahm_torch.data import ColorPatches


@pytest.fixture(scope="module")
def data():
    data = ColorPatches(side=8)
    data.setup()
    return data


def test_patches_are_those_of_the_photographs(data):
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    found = (data.pictures(data.train) * 255).round().to(torch.uint8)
    # Patches go down a column, photograph by photograph, then to the next column.
    assert data.image_shape == (8, 8, 3)
    assert torch.equal(found[0], torch.tensor(china[:8, :8]))
    assert torch.equal(found[1], torch.tensor(china[8:16, :8]))
    assert torch.equal(found[53], torch.tensor(flower[:8, :8]))
    assert torch.equal(found[2 * 53], torch.tensor(china[:8, 8:16]))


def test_parts_are_of_different_columns(data):
    sizes = [len(part) for part in (data.train, data.val, data.test)]
    assert sizes == [2 * 53 * 56, 2 * 53 * 12, 2 * 53 * 12]
    # Patches may be alike where a photograph is all one color, and nearly none are.
    known = {tuple(row.tolist()) for row in data.train}
    assert sum(tuple(row.tolist()) in known for row in data.test) < 0.01 * len(data.test)


def test_values_are_levels(data):
    levels = (data.train + 1) * 255 / 2
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert data.num_levels == 256


def test_patches_fit_into_the_parts():
    with pytest.raises(ValueError, match="side is 200, but the part for test is only 96 pixels"):
        ColorPatches(side=200)
