r"""A folder of color images: a machine learns their pixels, and a picture shows its own."""

import argparse
from pathlib import Path

import torch
from PIL import Image

import qahm_torch as qt
from qahm_torch import evaluation


def write_images(folder: Path, side: int) -> None:
    r"""Writes patches of two photographs; your images are there already."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True)
    for k, photograph in enumerate(load_sample_images().images):
        for row in range(0, 416, 2 * side):
            for column in range(0, 624, 2 * side):
                patch = photograph[row : row + 2 * side, column : column + 2 * side]
                Image.fromarray(patch).save(folder / f"{k}_{row:03}_{column:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("patches"))
    options = parser.parse_args()
    torch.manual_seed(0)
    if not options.folder.exists():
        write_images(options.folder, options.side)
    data = qt.data.ImageFolder(options.folder, 2 * (options.side,), color=True, num_test=200)
    data.setup()
    n = data.num_features
    pixels = qt.Autoregressive(data.units, qt.CausalLinear(n, 2))
    machine = qt.HelmholtzMachine(
        qt.BeliefNetwork([n, 64, 16], temperature=1 / 7),
        qt.BeliefNetwork([16, 64, n], output=pixels),
        qt.QuantumPriorLayer(16, num_samples=100),
    )
    optimizer = torch.optim.Adam(machine.parameters(), lr=3e-3)
    for _ in range(options.steps):
        batch = data.train[torch.randint(len(data.train), (100,))]
        loss = qt.RelaxedELBO()(machine, batch, machine.prior.draw())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images = machine.generate(24)
    nearest = data.train[evaluation.nearest_neighbors(images, data.train).index]
    stacks = (rows.view(-1, *data.image_shape) for rows in (images, nearest))
    evaluation.save_figure(evaluation.generated_and_nearest(*stacks), "generated.png")
    nats = evaluation.log_likelihood(machine, data.test, log_z=None, num_particles=20).value
    print(f"bits that a value of a test image takes: {evaluation.bits_per_dimension(nats, n):.3f}")


if __name__ == "__main__":
    main()
