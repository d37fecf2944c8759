import pytest
import torch

from qahm_torch import CircuitPrior, SampledMMD, gaussian_kernel, hardware_efficient, squared_mmd
from qahm_torch.ising import all_states

F64 = torch.float64
BANDWIDTHS = (0.5, 1.0)


def prior_and_data():
    torch.manual_seed(0)
    prior = CircuitPrior(3, hardware_efficient(1, ("RY", "RZ")), scale=1.0).double()
    return prior, all_states(3)[[0, 1, 3, 7, 7]]


def exact(law, other):
    r"""Returns the squared discrepancy of two laws of all states."""
    states = all_states(3)
    return (law - other) @ gaussian_kernel(states, states, BANDWIDTHS) @ (law - other)


def law_of(data):
    return (data[:, None] == all_states(3)).all(-1).double().mean(0)


def test_the_kernel_is_of_the_number_of_spins_that_differ():
    s = torch.tensor([[1.0, 1.0, -1.0]], dtype=F64)
    t = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]], dtype=F64)
    expected = torch.tensor([[-2 / (2 * 0.7**2), 0.0]], dtype=F64).exp()
    torch.testing.assert_close(gaussian_kernel(s, t, [0.7]), expected)


def test_the_estimate_is_unbiased():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(8, dtype=F64, generator=generator).softmax(0)
    q = torch.rand(8, dtype=F64, generator=generator).mul(3).softmax(0)
    found = torch.stack(
        [
            squared_mmd(
                *(all_states(3)[torch.multinomial(x, 10, True, generator=generator)] for x in pq),
                BANDWIDTHS,
            )
            for pq in [(p, q)] * 2000
        ]
    )
    stderr = found.std() / 2000**0.5
    assert abs(found.mean() - exact(p, q)) < 5 * stderr
    # The diagonal of the kernel would be found.
    states = all_states(3)
    kernel = gaussian_kernel(states, states, BANDWIDTHS)
    assert sum((1 - law @ kernel @ law) / 10 for law in (p, q)) > 10 * stderr


def test_the_gradient_from_readings_is_unbiased():
    prior, data = prior_and_data()
    own = law_of(data)
    exact(prior.probabilities(), own).backward()
    expected, prior.angles.grad = prior.angles.grad, None
    loss, generator = SampledMMD(BANDWIDTHS, num_samples=50), torch.Generator().manual_seed(0)
    values, gradients = [], []
    for _ in range(400):
        value = loss(prior, data, generator=generator)
        (gradient,) = torch.autograd.grad(value, prior.angles)
        values.append(value.detach())
        gradients.append(gradient)
    found, stderr = mean_and_error(torch.stack(gradients))
    assert ((found - expected).abs() < 5 * stderr).all()
    assert ((found + expected).abs() > 5 * stderr).any()
    # Data are a law of their own: what is estimated differs by a constant.
    within = gaussian_kernel(data, data, BANDWIDTHS)
    constant = (within.sum() - 5) / 20 - within.mean()
    value, error = mean_and_error(torch.stack(values))
    assert abs(value - constant - exact(prior.probabilities(), own)) < 5 * error


def mean_and_error(values):
    # Angles without effect have no error; the last digits are left to them.
    return values.mean(0), values.std(0) / len(values) ** 0.5 + 1e-9


def test_no_gradient_no_shifted_circuits(monkeypatch):
    prior, data = prior_and_data()
    asked = []
    read = prior.read
    monkeypatch.setattr(
        prior, "read", lambda num, angles, **kw: asked.append(len(angles)) or read(num, angles)
    )
    with torch.no_grad():
        SampledMMD()(prior, data)
    SampledMMD()(prior, data)
    assert asked == [1, 1, 2 * len(prior.angles)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bandwidths": [1.0, 0.0]}, r"bandwidths are \[1.0, 0.0\], but"),
        ({"bandwidths": []}, r"bandwidths are \[\], but"),
        ({"num_samples": 1}, "num_samples is 1, but"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        SampledMMD(**settings)


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match="there are 1 and 3 samples"):
        squared_mmd(torch.ones(1, 2), torch.ones(3, 2), [1.0])
