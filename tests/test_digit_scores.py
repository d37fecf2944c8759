import pytest
import torch

from qahm_torch.systems.digit_scores import KINDS, restoration_scores


def test_only_hidden_pixels_and_the_greatest_class_unit_count():
    rows = torch.ones(2, 46)
    rows[:, 42:] = torch.tensor([[-1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, -1.0]])
    hidden = rows.clone()
    hidden[:, :4] = torch.nan
    hidden[:, 42:] = torch.nan
    found = rows.clone()
    found[0, :3] = torch.tensor([-0.5, 0.2, 0.0])  # two of eight hidden pixels are wrong
    found[0, 42:] = torch.tensor([-0.9, -0.5, -0.9, -0.9])  # the right class, though it is not up
    found[1, 42:] = torch.tensor([0.1, 0.2, -1.0, -1.0])
    found[:, 10] = -1  # was known
    scores = restoration_scores(rows, dict.fromkeys(KINDS, hidden), dict.fromkeys(KINDS, found))
    for kind in KINDS:
        assert scores[f"error_{kind}"] == pytest.approx(2 / 8)
        assert scores[f"accuracy_{kind}"] == 0.5
