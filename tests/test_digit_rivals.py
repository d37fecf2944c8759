import pytest
import torch

from qahm_torch.systems.digit_rivals import RIVALS, restored_by_rival

NAN = torch.nan
# Two pixels and two classes: the first pixel is the class, the second is up in 3 rows of 4.
FIRST = [[1, 1, 1, -1], [1, 1, 1, -1], [1, -1, 1, -1], [1, 1, 1, -1]]
SECOND = [[-1, 1, -1, 1], [-1, 1, -1, 1], [-1, -1, -1, 1], [-1, 1, -1, 1]]
TRAIN = torch.tensor([*FIRST, *SECOND]).float()


@pytest.mark.parametrize("arm", RIVALS)
def test_what_is_known_is_unchanged(arm):
    hidden = torch.tensor([[1.0, NAN, NAN, NAN], [NAN, -1.0, NAN, NAN]])
    found = restored_by_rival(arm, TRAIN, hidden, 2)
    known = ~hidden.isnan()
    assert torch.equal(found[known], hidden[known]) and not found.isnan().any()


def test_the_mean_does_not_look_at_what_is_known():
    hidden = torch.tensor([[1.0, NAN, NAN, NAN], [-1.0, NAN, NAN, NAN]])
    found = restored_by_rival("pixel mean", TRAIN, hidden, 2)
    assert torch.equal(found[:, 1:], torch.tensor([[0.5, 0.0, 0.0]] * 2))


def test_naive_bayes_is_by_the_frequencies_of_each_class():
    hidden = torch.tensor([[1.0, NAN, NAN, NAN]])
    found = restored_by_rival("naive Bayes", TRAIN, hidden, 2)[0]
    # With two counts more, the first pixel is up with 5/6 and with 1/6, the second with 4/6.
    posterior = (5 / 6) / (5 / 6 + 1 / 6)
    expected = torch.tensor([1.0, 2 * 4 / 6 - 1, 2 * posterior - 1, 1 - 2 * posterior])
    assert torch.allclose(found, expected)


def test_neighbors_are_those_nearest_in_what_is_known():
    hidden = torch.tensor([[-1.0, NAN, NAN, NAN]])
    train = torch.cat([TRAIN, TRAIN[4:]])  # eight of the second class, of which 5 are taken
    found = restored_by_rival("5 nearest neighbors", train, hidden, 2)[0]
    assert found[2] == -1 and found[3] == 1
