r"""Modules say what they are built of, and are built again from it; nothing else is built."""

import io

import pytest
import torch
from torch import nn
from torchvision.ops import MLP

import qahm_torch as qt
from qahm_torch.nn.construction import built, construction, kind_of

CELL = qt.CouplingGraph.bipartite(4, 4)
MODULES = {
    "layers of spins": lambda: qt.BeliefNetwork([6, 4, 3], temperature=0.5, hard=True),
    "modules as layers": lambda: qt.BeliefNetwork([6, 3], layers=[qt.NormalizedMLP(6, [5], 3)]),
    "a multilayer perceptron of torchvision": lambda: MLP(6, [5, 3], dropout=0.1),
    "gray pixels and classes": lambda: qt.BeliefNetwork(
        [3, 9], output=qt.Concatenated([qt.ContinuousSpins(4), qt.OneHot(5)])
    ),
    "levels": lambda: qt.DiscretizedLogistic(5, 256, min_log_scale=-3.0),
    "ordinal": lambda: qt.OrdinalUnits(3, 4),
    "normal": lambda: qt.NormalUnits(3, min_scale=0.1),
    "counts": lambda: qt.PoissonUnits(3),
    "columns": lambda: qt.MixedUnits([qt.NormalUnits(1), qt.OneHot(3)], num_hidden=4),
    "units that see those before": lambda: qt.Autoregressive(qt.Spins(5), qt.CausalLinear(5)),
    "causal pixels": lambda: qt.Autoregressive(
        qt.Spins(12), qt.CausalConvolutions(3, 4, num_channels=2, reach=1, gain=0.5)
    ),
    "groups": lambda: qt.GroupedRecognition(
        6, 4, trunk=nn.Linear(6, 5), num_features=5, num_groups=2, num_hidden=3, temperature=0.3
    ),
    "residual convolutions": lambda: nn.Sequential(
        qt.ResidualEncoder(5, 4, 6, channels=[2, 3], num_blocks=2),
        qt.ResidualDecoder(6, 5, 4, channels=[3], num_blocks=0, num_parameters=2),
    ),
    "flags": lambda: qt.Flagged(qt.BeliefNetwork([8, 3])),
    "a conditional machine": lambda: qt.ConditionalBoltzmann([4, 3]),
    "couplings on a chip": lambda: qt.QuantumPriorLayer(qt.CouplingGraph.chimera(1), hidden=[5]),
    "a transverse field": lambda: qt.QuantumPriorLayer(3, gamma=torch.tensor([0.1, 0.2, 0.3])),
    "a sampler": lambda: qt.QuantumPriorLayer(3, sampler=qt.TemperingSampler(3), num_samples=7),
    "a learned field": lambda: qt.QuantumGibbsPrior(3, gamma=0.4),
    "strands": lambda: qt.EmbeddedPrior(CELL, [(0, 4), (1, 5)], strand_coupling=2.0),
    "a circuit": lambda: qt.CircuitPrior(3, ["RY", "CZ"], scale=0.2),
    "an IQP circuit": lambda: qt.IQPCircuit(3, [[0], [1, 2]]),
    "semi-quantum": lambda: qt.SemiQuantumPrior(3, 2, num_operators=3),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 2, stride=2, bias=False), nn.Flatten()
    ),
    "normalization": lambda: nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3), nn.GELU()),
    "an autoencoder": lambda: qt.DiscreteVAE(
        nn.Linear(6, 3), nn.Linear(3, 6), qt.QuantumPriorLayer(3), num_visible=6, temperature=0.2
    ),
}


def through_a_file(value):
    r"""Returns a construction as it is after a file that was read without running code."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def described(module):
    return [(name, kind_of(part), part.extra_repr()) for name, part in module.named_modules()]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_built_again_as_it_was(name):
    module = MODULES[name]()
    again = built(through_a_file(construction(module)))
    assert described(again) == described(module)
    again.load_state_dict(module.state_dict())
    for a, b in zip(again.state_dict().values(), module.state_dict().values(), strict=True):
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b)


@pytest.mark.parametrize(
    ("num_spins", "kind"), [(128, torch.int8), (256, torch.int16), (40_000, torch.int32)]
)
def test_edges_take_no_more_bytes_than_they_need(num_spins, kind):
    graph = qt.CouplingGraph(num_spins, [(0, num_spins - 1), (1, 2)])
    told = construction(graph)
    assert told["init_args"]["edges"].dtype is kind
    assert built(through_a_file(told)) == graph


def test_values_that_changed_since_are_those_of_now():
    module = qt.CausalConvolutions(3, 4, gain=0.0)
    module.gain = 0.7
    assert built(construction(module)).gain == 0.7


def test_a_sampler_of_a_device_is_left_out_and_settings_are_kept():
    prior = qt.QuantumPriorLayer(3, sampler=qt.AnnealerSampler(qt.SimulatedAnnealer()))
    told = construction(prior)["init_args"]
    assert "sampler" not in told and told["hidden_sampler"]["init_args"]["num_sweeps"] == 20
    again = built(construction(qt.QuantumPriorLayer(3, sampler=qt.AnnealedSampler(17))))
    assert again.sampler.num_temperatures == 17


class OwnUnits(qt.Units):
    r"""Units that are not of the package."""

    def __init__(self, num_units):
        super().__init__(num_units, num_units)

    def _distribution(self, activations):
        return qt.Spins(self.num_units)(activations)


class OwnSequential(nn.Sequential):
    r"""Does not do what an nn.Sequential does."""

    def forward(self, rows):
        return -super().forward(rows)


@pytest.mark.parametrize("part", [OwnUnits(3), OwnSequential(nn.ReLU()), object(), {"a": 1}])
def test_parts_of_other_classes_are_refused(part):
    with pytest.raises(ValueError, match="but only modules of qahm_torch and torch.nn can be"):
        construction([part])


def test_a_class_that_does_not_tell_is_refused_by_name():
    with pytest.raises(ValueError, match="MultiheadAttention has no attribute 'bias'"):
        construction(nn.MultiheadAttention(4, 2))


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.nn.init",
        "torch.nn.modules.Linear",
        "torch.nn.functional.relu",
        "qahm_torch.evaluation.write_json",
        "qahm_torch.AnnealerSampler",
        "qahm_torch.SimulatedAnnealer",
        "qahm_torch.systems",
        "qahm_torch.__class__",
        "pathlib.Path",
        None,
        7,
    ],
)
def test_nothing_else_is_built(path):
    with pytest.raises(ValueError, match="but only modules of qahm_torch and torch.nn are built"):
        built({"class_path": path, "init_args": {}})


@pytest.mark.parametrize(
    "tree",
    [
        {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2}},
        {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "no": 3}},
        {"class_path": "torch.nn.Linear"},
        {"class_path": "torch.nn.Sequential", "modules": [3]},
    ],
)
def test_arguments_that_do_not_fit_are_refused(tree):
    with pytest.raises(ValueError, match="is not built by what is told of it"):
        built(tree)
