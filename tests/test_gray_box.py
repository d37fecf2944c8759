import warnings

import pytest
import torch

from qahm_torch.annealer import EmbeddedPrior
from qahm_torch.device import AnnealerWarning
from qahm_torch.priors import restore
from qahm_torch.systems import GrayBox, reproduce

KINDS = ("random", "block")
SYSTEM = GrayBox.small()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(SYSTEM, tmp_path_factory.mktemp("gray_box"))


@pytest.fixture(scope="module")
def data():
    return SYSTEM.data(0)


def row(report, arm):
    (found,) = (row for row in report["rows"] if row["arm"] == arm)
    return found


def test_a_device_trained_as_a_whole_beats_means_and_naive_bayes(report):
    whole = row(report, "whole device")
    for kind in KINDS:
        assert whole[f"error_{kind}"] < row(report, "naive Bayes")[f"error_{kind}"]
        assert whole[f"error_{kind}"] < row(report, "pixel mean")[f"error_{kind}"] - 0.05
        assert whole[f"accuracy_{kind}"] > 0.6


def test_programmings_are_counted(report):
    whole = row(report, "whole device")
    assert whole["programmings_of_picture"] == 1
    validations = SYSTEM.num_updates // SYSTEM.every
    expected = SYSTEM.num_updates + validations * len(KINDS) * SYSTEM.num_val
    assert whole["programmings_of_training"] == expected


def test_the_headline_is_of_the_rows(report):
    whole = row(report, "whole device")
    told = "/".join(f"{100 * whole[f'error_{kind}']:.1f}" for kind in KINDS)
    assert f"on the device (noise 0.02) {told}, logical" in report["headline"]


def test_pictures_are_restored_where_they_were_hidden_only(report):
    pictures = {name: torch.tensor(values) for name, values in report["pictures"].items()}
    for kind in KINDS:
        hidden, restored = pictures[f"{kind}: hidden"], pictures[f"{kind}: restored"]
        known = hidden != 0
        assert (~known).any()
        assert torch.equal(restored[known], pictures["test digits"][known])


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pixels_are_never_seen(kind, data):
    rows = data.test[:2]
    lost = SYSTEM.hide(data, rows, kind).isnan()
    forged = torch.where(lost, -rows, rows)
    results = []
    for original in (rows, forged):
        torch.manual_seed(0)
        prior = EmbeddedPrior.on_device(data.num_visible, SYSTEM.annealer("noise 0.02", 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnnealerWarning)
            results.append(restore(prior, SYSTEM.hide(data, original, kind), 20))
    assert torch.equal(*results)
    assert torch.equal(results[0][~lost], rows[~lost])


def test_pictures_hidden_at_the_same_places_always(data):
    first, second = (SYSTEM.hide(data, data.test, "random").isnan() for _ in range(2))
    assert torch.equal(first, second) and first[:, 42:].all()
