r"""A GAN whose binary latents are of a Boltzmann machine that learns with the generator."""

import argparse

import torch
from torch import nn
from torch.nn.functional import softplus

import qahm_torch as qt
from qahm_torch.data import OptDigits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--latents", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(0)
    data = OptDigits(classes=False)
    data.setup()
    n = options.latents
    prior = qt.QuantumPriorLayer(n, sampler=qt.GibbsSampler(num_sweeps=10), num_samples=100)
    generator = nn.Sequential(nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh())
    critic = nn.Sequential(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
    learned = [*generator.parameters(), *prior.parameters()]
    makers = torch.optim.Adam(learned, lr=1e-3, betas=(0.5, 0.999))
    judges = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for _ in range(options.steps):
        real = data.transform(data.train[torch.randint(len(data.train), (100,))])
        samples = prior.draw()  # of this update: the critic and the generator see the same
        fake = generator(samples.spins).detach()
        judged = softplus(-critic(real)).mean() + softplus(critic(fake)).mean()
        judges.zero_grad()
        judged.backward()
        judges.step()
        # By `expectation` the fields and couplings have a gradient, too: a covariance.
        deceived = prior.expectation(lambda s: softplus(-critic(generator(s)))[:, 0], samples)
        makers.zero_grad()
        deceived.backward()
        makers.step()
    with torch.no_grad():
        images = generator(prior.sample(len(data.test)))
        distance = qt.maximum_mean_discrepancy(images, data.test)
    print(f"discrepancy of generated images from test images: {distance:.4f}")


if __name__ == "__main__":
    main()
