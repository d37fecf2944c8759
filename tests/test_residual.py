import pytest
import torch

from qahm_torch import (
    BeliefNetwork,
    ExactSampler,
    GroupedRecognition,
    HelmholtzMachine,
    NormalUnits,
    QuantumPriorLayer,
    RelaxedELBO,
    ResidualDecoder,
    ResidualEncoder,
)

SIZES = [(8, 8), (16, 16), (28, 28), (7, 5), (1, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [[3], [3, 4], [2, 3, 4]])
def test_images_of_any_size_become_features_and_come_back(size, channels):
    num_pixels = size[0] * size[1]
    encoder = ResidualEncoder(*size, 10, channels=channels)
    decoder = ResidualDecoder(10, *size, channels=channels[::-1])
    features = encoder(torch.randn(6, num_pixels))
    assert features.shape == (6, 10)
    assert decoder(features).shape == (6, num_pixels)


@pytest.mark.parametrize("num_blocks", [0, 1, 2])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_gradient_reaches_all_parameters(kind, num_blocks):
    torch.manual_seed(0)
    network = {
        "encoder": ResidualEncoder(8, 7, 9, channels=[3, 4], num_blocks=num_blocks),
        "decoder": ResidualDecoder(56, 8, 7, channels=[4, 3], num_blocks=num_blocks),
    }[kind]
    network(torch.randn(20, 56)).square().mul(torch.rand(())).sum().backward()
    for name, parameter in network.named_parameters():
        # Not by rounding alone, as it would be for a bias in front of a normalization.
        assert parameter.grad.abs().max() > 1e-3, name


def test_a_convolution_moves_with_the_image():
    torch.manual_seed(0)
    decoder = ResidualDecoder(5, 32, 32, channels=[3]).eval()
    stage = torch.zeros(2, 3, 16, 16)
    stage[0, :, 6, 5] = stage[1, :, 8, 9] = torch.randn(3)
    with torch.no_grad():
        first, second = decoder.net[2:](stage).view(2, 32, 32)
    assert first.std() > 0
    torch.testing.assert_close(first[4:22, 2:20], second[8:26, 10:28])


def test_each_pixel_depends_on_all_inputs_and_features_on_all_pixels():
    torch.manual_seed(0)
    decoder = ResidualDecoder(6, 9, 7).double().eval()
    jacobian = torch.func.jacrev(lambda x: decoder(x).sum(0))(torch.randn(8, 6).double())
    assert (jacobian.abs() > 0).all(-1).all()
    encoder = ResidualEncoder(9, 7, 4).double().eval()
    jacobian = torch.func.jacrev(lambda x: encoder(x).square().sum())(torch.randn(8, 63).double())
    assert (jacobian.abs() > 0).all()


def test_rows_are_the_same_by_pieces():
    torch.manual_seed(0)
    encoder = ResidualEncoder(8, 8, 10, channels=[3]).eval()
    decoder = ResidualDecoder(10, 8, 8, channels=[3]).eval()
    images = torch.randn(1203, 64)
    whole = decoder(encoder(images))
    with torch.no_grad():
        torch.testing.assert_close(decoder(encoder(images)), whole.detach())


def test_statistics_of_a_batch_are_of_the_whole_of_it():
    torch.manual_seed(0)
    encoder, images = ResidualEncoder(4, 4, 5, channels=[3]), torch.randn(1203, 16)
    whole = encoder(images).detach()
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), whole)


def test_parameters_of_a_kind_come_together():
    torch.manual_seed(0)
    decoder = ResidualDecoder(5, 8, 6, num_parameters=2)
    units = NormalUnits(48)
    activations = decoder(torch.randn(3, 5))
    assert activations.shape == (3, units.num_parameters)
    maps = decoder.net[:-1](torch.randn(3, 5))
    assert maps.shape == (3, 2, 8, 6)


def test_a_machine_learns_with_both():
    torch.manual_seed(0)
    recognition = GroupedRecognition(
        16,
        4,
        trunk=ResidualEncoder(4, 4, 12, channels=[4]),
        num_features=12,
        num_groups=2,
        num_hidden=8,
        temperature=0.5,
    )
    generator = BeliefNetwork([4, 16], layers=[ResidualDecoder(4, 4, 4, channels=[4])])
    machine = HelmholtzMachine(
        recognition, generator, QuantumPriorLayer(4, sampler=ExactSampler())
    )
    bars = torch.full((4, 4, 4), -1.0)
    for k in range(4):
        bars[k, :, k] = 1
    data = bars.flatten(1).repeat(10, 1)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        RelaxedELBO()(machine, data, machine.prior.draw())["loss"].backward()
        optimizer.step()
    machine.eval().prior.estimate_log_z()
    assert machine.log_prob(data[:4], 200).mean() > -2.5  # of -1.39 at best and -11.1 at first


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(5, 60\), but images of 8 x 8 pixels.*\(B, 64\)"):
        ResidualEncoder(8, 8, 10)(torch.ones(5, 60))
    with pytest.raises(ValueError, match=r"shape \(5, 8, 8\)"):
        ResidualEncoder(8, 8, 10)(torch.ones(5, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(5, 9\), but those of 10 inputs"):
        ResidualDecoder(10, 8, 8)(torch.ones(5, 9))
    with pytest.raises(ValueError, match=r"channels are \[\], but at least one stage"):
        ResidualEncoder(8, 8, 10, channels=[])
    with pytest.raises(ValueError, match="channels is 0"):
        ResidualDecoder(10, 8, 8, channels=[0])
    with pytest.raises(ValueError, match="num_blocks is -1"):
        ResidualDecoder(10, 8, 8, num_blocks=-1)
    with pytest.raises(ValueError, match="num_features is 0"):
        ResidualEncoder(8, 8, 0)
