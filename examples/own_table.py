r"""A CSV: a machine learns its columns and its classes together, and tells the class of a row."""

import argparse
from pathlib import Path

import torch

import qahm_torch as qt
from qahm_torch.data import TableData
from qahm_torch.evaluation import impute


def write_table(path: Path) -> None:
    r"""Writes a table; yours is there already."""
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer()
    lines = [",".join([*frame.feature_names[:10], "diagnosis"])]
    for row, label in zip(frame.data[:, :10], frame.target, strict=True):
        lines.append(",".join([*(f"{x:g}" for x in row), frame.target_names[label]]))
    path.write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--path", type=Path, default=Path("breast_cancer.csv"))
    options = parser.parse_args()
    torch.manual_seed(0)
    if not options.path.exists():
        write_table(options.path)
    data = TableData(options.path, class_column="diagnosis", num_test=150)
    data.setup()
    units = data.units  # that fit the columns
    machine = qt.HelmholtzMachine(
        qt.Flagged(qt.BeliefNetwork([2 * units.num_units, 8])),  # is told what is missing
        qt.BeliefNetwork([8, units.num_units], output=units),
        qt.QuantumPriorLayer(8, sampler=qt.ExactSampler(), num_samples=100),
    )
    objective = qt.ReweightedWakeSleep(num_particles=5)
    optimizer = torch.optim.Adam(machine.parameters(), lr=1e-2)
    for _ in range(options.steps):
        batch = data.train[torch.randint(len(data.train), (100,))]
        hidden = torch.rand(len(batch)) < 0.5
        batch[hidden, -data.num_classes :] = torch.nan  # so that it learns to do without
        loss = objective(machine, batch, machine.prior.draw())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unknown = data.test.clone()
    unknown[:, -data.num_classes :] = torch.nan
    guess, truth = (data.decode(u)[:, -1] for u in (impute(machine, unknown).mean, data.test))
    accuracy = (guess == truth).double().mean()
    print(f"share of test rows whose class is told from the other columns: {accuracy:.3f}")


if __name__ == "__main__":
    main()
