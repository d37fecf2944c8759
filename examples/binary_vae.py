r"""A VAE of your own in plain PyTorch, whose binary latents have a Boltzmann machine as prior."""

import argparse

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import qahm_torch as qt
from qahm_torch.data import OptDigits


class BinaryVAE(nn.Module):
    def __init__(self, num_latents: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, num_latents))
        self.decoder = nn.Sequential(nn.Linear(num_latents, 128), nn.ReLU(), nn.Linear(128, 64))
        self.units = qt.Spins(num_latents, temperature=1 / 7)  # of relaxed spins
        self.prior = qt.QuantumPriorLayer(num_latents, num_samples=256)

    def bound(self, bits: torch.Tensor, relaxed: bool) -> torch.Tensor:
        log_odds = self.encoder(bits)
        law = self.units(log_odds / 2)
        spins = law.rsample() if relaxed else law.sample()
        error = binary_cross_entropy_with_logits(self.decoder(spins), bits, reduction="none")
        return -error.sum(-1) - qt.kl_divergence(log_odds, spins, self.prior)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--latents", type=int, default=24)
    options = parser.parse_args()
    torch.manual_seed(0)
    data = OptDigits(classes=False, dequantize=False)
    data.setup()
    train, test = (data.train > 0).float(), (data.test > 0).float()  # bits, dark or light
    model = BinaryVAE(options.latents)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(options.steps):
        batch = train[torch.randint(len(train), (100,))]
        loss = -model.bound(batch, relaxed=True).mean()
        optimizer.zero_grad()
        loss.backward()  # calls the sampler of the prior, once
        optimizer.step()
    model.prior.estimate_log_z()
    with torch.no_grad():
        bound = model.bound(test.expand(20, -1, -1).flatten(0, 1), relaxed=False).mean()
    print(f"lower bound of the log-likelihood of test images, in nats: {bound:.2f}")


if __name__ == "__main__":
    main()
