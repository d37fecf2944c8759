r"""An autoencoder whose codes are matched to a Boltzmann machine, from which it generates images.

The encoder, the decoder and the prior have a loss each: reconstruction, the maximum mean
discrepancy between codes and samples of the prior, and the likelihood of the codes.
"""

import argparse

import torch
from torch import nn

import qahm_torch as qt
from qahm_torch.data import OptDigits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--latents", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(0)
    data = OptDigits(classes=False, dequantize=False)
    data.setup()
    n = options.latents
    encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, n))
    decoder = nn.Sequential(nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh())
    units = qt.Spins(n, temperature=1 / 7, hard=True)  # straight-through
    prior = qt.QuantumPriorLayer(n, sampler=qt.GibbsSampler(num_sweeps=10), num_samples=200)
    networks = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    machine = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for _ in range(options.steps):
        batch = data.train[torch.randint(len(data.train), (200,))]
        codes = units(encoder(batch)).rsample()
        samples = prior.draw()
        discrepancy = qt.maximum_mean_discrepancy(codes, samples.spins)
        loss = (decoder(codes) - batch).square().mean() + 0.1 * discrepancy
        networks.zero_grad()
        loss.backward()
        networks.step()
        machine.zero_grad()
        (-prior.log_prob(codes.detach(), samples).mean()).backward()  # the same samples
        machine.step()
    with torch.no_grad():
        images = decoder(prior.sample(len(data.test)))
        distance = qt.maximum_mean_discrepancy(images, data.test)
    print(f"discrepancy of generated images from test images: {distance:.4f}")


if __name__ == "__main__":
    main()
