r"""`qahm device`: what a chip is, what fits on it, and what a run will cost."""

from __future__ import annotations

__all__ = ["parser", "run"]

import json
from typing import Any

from qahm_torch.cli.arguments import Parser
from qahm_torch.cli.configs import models_like, with_paths
from qahm_torch.cli.mistakes import UsageError, hint

DEVICES = {"simulated": "qahm_torch.SimulatedAnnealer", "qpu": "dwave.system.DWaveSampler"}
TYPICAL_UPDATES = 1000
SIZES = [8, 16, 32, 60, 64, 100]


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = Parser(
        prog="qahm device",
        description="Says what a chip is, what fits on it, and what a run will cost in QPU time. "
        "Nothing is submitted.",
    )
    parser.add_argument(
        "--config",
        type=str | None,
        default=None,
        help="A training configuration: its device, model and number of updates.",
    )
    parser.add_argument(
        "--device",
        type=str,
        default="simulated",
        help="'simulated', 'qpu' (by D-Wave's own configuration), or the path of a class.",
    )
    parser.add_argument(
        "--init_args",
        type=dict[str, Any] | None,
        default=None,
        help="Arguments of the device, such as '{topology: zephyr, shape: 12}'.",
    )
    parser.add_argument(
        "--num_spins",
        type=int | list[int] | None,
        default=None,
        help="Sizes of complete graphs to place, such as 60 or '[16, 60]'.",
    )
    parser.add_count("copies", 1, 1, "Copies per programming.")
    parser.add_count("num_samples", 1000, 1, "Samples per update.")
    parser.add_count(
        "num_updates",
        None,
        1,
        f"The updates of a run; by default those of the configuration, or else {TYPICAL_UPDATES}.",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="Seconds to wait.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.offers.update(config=models_like, device=lambda _: DEVICES)
    return parser


def run(arguments: list[str]) -> None:
    r"""Opens a device, submits nothing to it, and prints what was asked."""
    settings = parser().parse_args(with_paths(arguments))
    settings.num_spins = _sizes(settings.num_spins)
    settings.device = _class_path(settings.device)
    if settings.timeout <= 0:
        raise UsageError(f"--timeout is {settings.timeout}, but a time is positive")

    from qahm_torch.cli.plans import describe, told

    report = describe(settings, TYPICAL_UPDATES)
    print(json.dumps(report, indent=2) if settings.json else told(report))


def _sizes(num_spins: Any) -> list[int]:
    r"""Returns sizes of graphs, of which one need not stand in brackets."""
    sizes = [num_spins] if isinstance(num_spins, int) else num_spins or SIZES
    for size in sizes:
        if size < 1:
            raise UsageError(f"--num_spins is {num_spins}, but a graph has at least 1 spin")
    return list(sizes)


def _class_path(device: str) -> str:
    if device not in DEVICES and "." not in device:
        raise UsageError(
            f"--device is {device}, but it is {', '.join(DEVICES)} or the path of a class"
            f"{hint(device, DEVICES)}"
        )
    return DEVICES.get(device, device)
