r"""Digits of which few have a label: machines that learn from all, and nets from the labels."""

from __future__ import annotations

__all__ = ["BOLTZMANN", "FACTORIAL", "NET", "FewLabels"]

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qahm_torch.data import TensorDataModule
from qahm_torch.evaluation import classification_accuracy
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.systems.digit_machine import NUM_CLASSES, NUM_PIXELS, DigitMachine, some

BOLTZMANN, FACTORIAL, NET = "machine, Boltzmann prior", "machine, factorial prior", "net"
RULES: tuple[Literal["read_out", "classify"], ...] = ("read_out", "classify")
# Inverse strengths of the prior of logistic regression, all of which are tried.
STRENGTHS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class FewLabels:
    r"""How machines and nets learn from few labels.

    Arguments:
        numbers: The numbers of labels, one after the other.
        num_updates: The number of updates of a machine.
        label_share: The share of images with a label among those of an update of a machine.
        class_weight: The weight of the class of these images.
        hide_classes: How often recognition does not see it.
        num_net_updates: The number of updates of a net, with each of its settings.
        net_lr: The learning rate of a net.
        dropouts: Those that a net is tried with.
        weight_decays: Those that a net is tried with.
        num_looks: How often the validation images are looked at on the way.
        num_val: The number of validation images, which choose all that is chosen.
        num_test: The number of test images.
    """

    numbers: tuple[int, ...] = (100, 1000)
    num_updates: int = 1500
    label_share: float = 0.2
    class_weight: float = 10.0
    hide_classes: float = 0.9
    num_net_updates: int = 800
    net_lr: float = 0.003
    dropouts: tuple[float, ...] = (0.0, 0.5)
    weight_decays: tuple[float, ...] = (0.0001, 0.1)
    num_looks: int = 4
    num_val: int = 1000
    num_test: int = 2000

    def run(self, arm: str, data: TensorDataModule, kind: DigitMachine) -> dict[str, Any]:
        r"""Returns the accuracies of one arm on images of which few have a class."""
        rows = _Rows.of(data, self.num_val, self.num_test)
        if arm == NET:
            return self._net(rows, kind)
        return self._machine(rows, kind, is_factorial=arm == FACTORIAL)

    @torch.no_grad()
    def _nats(self, machine: HelmholtzMachine, rows: Tensor) -> float:
        r"""Returns the log-likelihood of pixels."""
        return float(machine.log_prob(_without_class(rows), 50).mean())

    def _machine(self, rows: _Rows, kind: DigitMachine, *, is_factorial: bool) -> dict[str, Any]:
        r"""Trains on all images; the time to stop and the rule are the best in validation."""
        machine = kind.new(is_factorial=is_factorial)
        best: dict[str, Any] = {"accuracy": -1.0}

        def look() -> None:
            found = _accuracy(machine, rows.val, "read_out", 10)
            if found > best["accuracy"]:
                best.update(accuracy=found, state=copy.deepcopy(machine.state_dict()))

        kind.train(
            machine,
            lambda: rows.batch(kind.batch_size, self.label_share),
            self.num_updates,
            num_looks=self.num_looks,
            look=look,
            class_weight=self.class_weight,
            hide_classes=self.hide_classes,
        )
        machine.load_state_dict(best["state"])
        val, test = (
            {r: _accuracy(machine, x, r, 50) for r in RULES} for x in (rows.val, rows.test)
        )
        rule = max(RULES, key=lambda name: val[name])
        return {
            "accuracy": test[rule],
            "val_accuracy": val[rule],
            "rule": rule,
            "of_rules": test,
            "by_features": _by_features(machine, rows),
            "nats": self._nats(machine, rows.test),
        }

    def _net(self, rows: _Rows, kind: DigitMachine) -> dict[str, Any]:
        r"""Trains on the labels alone; settings and time to stop are the best in validation."""
        found = [
            self._trained_net(rows, kind, dropout, decay)
            for dropout in self.dropouts
            for decay in self.weight_decays
        ]
        return max(found, key=lambda result: float(result["val_accuracy"]))

    def _trained_net(
        self, rows: _Rows, kind: DigitMachine, dropout: float, decay: float
    ) -> dict[str, Any]:
        net = _net_of(kind, dropout)
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=self.net_lr, weight_decay=decay, fused=True
        )
        best = {"val_accuracy": -1.0, "accuracy": -1.0, "dropout": dropout, "weight_decay": decay}
        every = max(1, self.num_net_updates // (4 * self.num_looks))
        for update in range(1, self.num_net_updates + 1):
            batch = rows.batch(kind.batch_size, 1.0)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.train()(_pixels(batch)), _labels(batch)).backward()
            optimizer.step()
            if (
                update % every == 0
                and (found := _net_accuracy(net, rows.val)) > best["val_accuracy"]
            ):
                best.update(val_accuracy=found, accuracy=_net_accuracy(net, rows.test))
        return best


@dataclass(frozen=True)
class _Rows:
    r"""The images of a data set, those with a class apart from those without."""

    data: TensorDataModule
    known: Tensor
    others: Tensor
    val: Tensor
    test: Tensor

    @classmethod
    def of(cls, data: TensorDataModule, num_val: int, num_test: int) -> _Rows:
        data.prepare_data()
        data.setup()
        is_known = ~data.train[:, NUM_PIXELS:].isnan().any(-1)
        val, test = (torch.cat(list(x)) for x in (data.val_dataloader(), data.test_dataloader()))
        parts = data.train[is_known], data.train[~is_known]
        return cls(data, *parts, val[:num_val], test[:num_test])

    def batch(self, size: int, label_share: float) -> Tensor:
        r"""Returns images, a share of which have their class."""
        number = round(label_share * size)
        rows = [some(self.known, number)]
        if number < size:
            rows.append(some(self.others, size - number))
        return self.data.transform(torch.cat(rows))


def _net_of(kind: DigitMachine, dropout: float) -> nn.Sequential:
    r"""Returns a net of the widths of recognition, with a layer of classes at the end."""
    return nn.Sequential(
        nn.Linear(NUM_PIXELS, kind.num_hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(kind.num_hidden, kind.num_deepest),
        nn.ReLU(),
        nn.Dropout(dropout / 2),
        nn.Linear(kind.num_deepest, NUM_CLASSES),
    )


@torch.no_grad()
def _net_accuracy(net: nn.Module, rows: Tensor) -> float:
    found = net.eval()(_pixels(rows)).argmax(-1)
    return float((found == _labels(rows)).double().mean())


def _accuracy(
    machine: HelmholtzMachine,
    rows: Tensor,
    rule: Literal["read_out", "classify"],
    num_particles: int,
) -> float:
    return classification_accuracy(machine, rows, rule=rule, num_particles=num_particles)


def _by_features(machine: HelmholtzMachine, rows: _Rows) -> float:
    r"""Returns the test accuracy of a logistic regression on means of the first hidden layer."""
    from sklearn.linear_model import LogisticRegression  # only now, because it takes time

    parts = [
        (_features(machine, x), _labels(x).numpy()) for x in (rows.known, rows.val, rows.test)
    ]
    known, val, test = parts
    models = [LogisticRegression(C=c, max_iter=1000).fit(*known) for c in STRENGTHS]
    return float(max(models, key=lambda model: float(model.score(*val))).score(*test))


@torch.no_grad()
def _features(machine: HelmholtzMachine, rows: Tensor) -> Any:
    seen = machine.seen(_without_class(rows))
    recognition: Any = machine.recognition
    return recognition.conditional(0, seen).mean.numpy()


def _pixels(rows: Tensor) -> Tensor:
    return rows[:, :NUM_PIXELS]


def _labels(rows: Tensor) -> Tensor:
    return rows[:, NUM_PIXELS:].argmax(-1)


def _without_class(rows: Tensor) -> Tensor:
    return torch.cat([_pixels(rows), torch.full_like(rows[:, NUM_PIXELS:], torch.nan)], -1)
