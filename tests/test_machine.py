import pytest
import torch
from jsonargparse import ArgumentParser
from models import F64
from torch import nn

from qahm_torch import (
    Autoregressive,
    BeliefNetwork,
    CausalLinear,
    Concatenated,
    ContinuousSpins,
    CouplingGraph,
    ExactSampler,
    HelmholtzMachine,
    NormalUnits,
    OneHot,
    OrdinalUnits,
    PoissonUnits,
    Prior,
    QuantumPriorLayer,
    Samples,
    Spins,
    hide,
)
from qahm_torch.ising import all_states


class Independent(Prior):
    r"""A prior that is no Boltzmann machine: independent spins, each up with a probability."""

    def __init__(self, num_visible):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_visible))

    @property
    def num_visible(self):
        return len(self.logits)

    def log_prob(self, spins, negative=None):
        return nn.functional.logsigmoid(self.logits * spins).sum(-1)

    def draw(self):
        return Samples(self.sample(64))

    def sample(self, num_samples, *, generator=None):
        p = torch.sigmoid(self.logits.detach()).expand(num_samples, -1)
        return 2 * torch.bernoulli(p, generator=generator) - 1

    def to_visible(self, spins):
        return spins


def small_machine(output=None, visible=4, prior=None):
    machine = HelmholtzMachine(
        BeliefNetwork([visible, 3, 2]),
        BeliefNetwork([2, 3, visible], output=output),
        prior or QuantumPriorLayer(2, sampler=ExactSampler(), num_samples=64),
    ).double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(0, 0.2)
    if prior is None:
        machine.prior.estimate_log_z()
    return machine


def joint_table(machine, v):
    r"""log p(v, u, z) for all hidden states, of shape (len(v), 32)."""
    grid = torch.cartesian_prod(torch.arange(len(v)), torch.arange(8), torch.arange(4))
    u, z = all_states(3)[grid[:, 1]], all_states(2)[grid[:, 2]]
    return machine.log_joint([v[grid[:, 0]], u, z]).view(len(v), 32)


def class_states(num_pixels, num_classes):
    r"""All visible states of pixels and a class."""
    pixels = all_states(num_pixels).repeat_interleave(num_classes, 0)
    classes = (2 * torch.eye(num_classes, dtype=F64) - 1).repeat(2**num_pixels, 1)
    return torch.cat([pixels, classes], -1)


def test_joint_is_normalized():
    machine = small_machine()
    total = torch.logsumexp(joint_table(machine, all_states(4)).flatten(), 0)
    assert abs(total.item()) < 1e-6


def test_importance_sampling_finds_the_marginal():
    machine = small_machine()
    exact = torch.logsumexp(joint_table(machine, all_states(4)), 1)
    estimate = machine.log_prob(all_states(4), 20_000)
    assert (estimate - exact).abs().max() < 0.1
    # Chunks do not change what is estimated, and one particle is a lower bound on average.
    bound = machine.log_weights(all_states(4), 20_000).mean(0)
    assert (bound < exact).all()


def test_dreams_follow_the_model():
    machine = small_machine()
    probability = torch.logsumexp(joint_table(machine, all_states(4)), 1).exp()
    expected = probability @ all_states(4)
    mean = machine.generate(20_000).mean(0)
    assert (mean - expected).abs().max() < 5 / 20_000**0.5


def test_classify_is_the_conditional_of_the_joint():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    states = class_states(2, 3)
    joint = torch.logsumexp(joint_table(machine, states), 1).view(4, 3)
    exact = torch.softmax(joint, -1)
    estimate = machine.classify(states[::3], 20_000)
    assert machine.num_classes == 3 and machine.num_pixels == 2
    assert (estimate - exact).abs().max() < 0.02
    # It does not look at the class units that it is given.
    torch.manual_seed(1)
    first = machine.classify(states[:1], 50)
    torch.manual_seed(1)
    assert torch.equal(machine.classify(states[1:2], 50), first)


def test_read_out_averages_over_recognition():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    states = class_states(2, 3)[::3]
    seen = torch.cat([states[:, :2], torch.zeros(4, 3, dtype=F64)], -1)
    u = all_states(3)
    q = machine.recognition.conditional(0, seen[:, None]).log_prob(u)
    by_state = (machine.generator.mean(u)[:, 2:] + 1) / 2
    exact = q.exp() @ by_state
    assert (machine.read_out(states, 20_000) - exact).abs().max() < 0.02
    assert (machine.classify(states, 20_000) - exact).abs().max() > 0.02


def test_completion_is_the_conditional_of_the_joint():
    machine = small_machine()
    v = all_states(4)
    mask = torch.tensor([True, False, True, False])
    p = torch.logsumexp(joint_table(machine, v), 1).exp()
    fits = (v[:, 0] == 1) & (v[:, 2] == -1)
    expected = (p[fits].unsqueeze(-1) * v[fits]).sum(0) / p[fits].sum()
    start = torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=F64).expand(4000, 4)
    completed = machine.complete(start, mask, num_particles=64)
    assert torch.equal(completed[:, mask], start[:, mask])
    assert (completed.mean(0) - expected).abs().max() < 5 / 4000**0.5 + 0.02


def test_reconstruction_turns_round_where_it_is_told():
    machine = small_machine()
    v = all_states(4)
    torch.manual_seed(0)
    shallow = machine.reconstruct(v, depth=1)
    torch.manual_seed(0)
    first = machine.recognition.sample(v)[0]
    torch.testing.assert_close(shallow, machine.generator.mean(first))
    assert machine.reconstruct(v).shape == v.shape
    q = machine.recognition.conditional(0, v[:, None]).log_prob(all_states(3))
    expected = q.exp() @ machine.generator.mean(all_states(3))
    many = machine.reconstruct(v, depth=1, num_draws=20_000)
    assert (many - expected).abs().max() < 0.02 < (shallow - expected).abs().max()
    with pytest.raises(ValueError, match="depth is 3, but hidden layers are 1 to 2"):
        machine.reconstruct(v, depth=3)


def test_prior_with_hidden_units_inside():
    machine = HelmholtzMachine(
        BeliefNetwork([4, 3]),
        BeliefNetwork([3, 4]),
        QuantumPriorLayer(5, hidden=(1, 3), sampler=ExactSampler()),
    )
    dream = machine.dream(6)
    assert dream[0].shape == (6, 3) and dream[1].shape == (6, 4)
    assert machine.log_prob(dream[1], 5).shape == (6,)


def test_parts_that_do_not_fit_are_named():
    prior = QuantumPriorLayer(2)
    fit = (
        r"recognition, data first, have widths \[4, 2\], but those of the generator have \[5, 2\]"
    )
    with pytest.raises(ValueError, match=fit):
        HelmholtzMachine(BeliefNetwork([4, 2]), BeliefNetwork([2, 5]), prior)
    with pytest.raises(ValueError, match="2 visible spins, but the deepest layer has 3"):
        HelmholtzMachine(BeliefNetwork([4, 3]), BeliefNetwork([3, 4]), prior)
    for method in (small_machine().classify, small_machine().read_out):
        with pytest.raises(ValueError, match="the output is Spins.*, but class units need"):
            method(all_states(4))
    with pytest.raises(ValueError, match="num_particles is 0, but at least 1 is needed"):
        small_machine().log_prob(all_states(4), 0)


def test_hide_hides_whole_classes_at_the_given_rate():
    v = torch.ones(4000, 5)
    hidden = hide(v, num_pixels=2, probability=0.3)
    assert (hidden[:, :2] == 1).all()
    rows = hidden[:, 2:]
    assert ((rows == 0).all(-1) | (rows == 1).all(-1)).all()
    assert abs((rows[:, 0] == 0).float().mean().item() - 0.3) < 5 * (0.21 / 4000) ** 0.5


# Sources of randomness.


def class_machine(prior=None):
    return small_machine(Concatenated([Spins(2), OneHot(3)]), 5, prior)


V = class_states(2, 3)
DRAWING = {
    "infer": lambda m, g: torch.cat(m.infer(V, 3, generator=g).states, -1),
    "log_weights": lambda m, g: m.log_weights(V, 3, generator=g),
    "log_prob": lambda m, g: m.log_prob(V, 3, generator=g),
    "log_prob in pieces": lambda m, g: m.log_prob(V, 5000, generator=g),
    "dream": lambda m, g: torch.cat(m.dream(20, generator=g), -1),
    "generate": lambda m, g: m.generate(20, generator=g),
    "reconstruct": lambda m, g: m.reconstruct(V, 1, generator=g),
    "complete": lambda m, g: m.complete(V, torch.arange(5) < 2, 3, generator=g),
    "classify": lambda m, g: m.classify(V, 3, generator=g),
    "read_out": lambda m, g: m.read_out(V, 3, generator=g),
    "hide": lambda m, g: hide(V.repeat(20, 1), m.num_pixels, 0.5, generator=g),
}


@pytest.mark.parametrize("make_prior", [lambda: None, lambda: Independent(2)])
@pytest.mark.parametrize("name", DRAWING)
def test_draws_follow_the_generator_alone(name, make_prior):
    machine, method = class_machine(make_prior()), DRAWING[name]
    before = torch.get_rng_state()
    first, again, other = (method(machine, torch.Generator().manual_seed(s)) for s in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(method(machine, None), method(machine, None))
    assert not torch.equal(torch.get_rng_state(), before)


# Any prior, and any units.


def test_a_prior_need_not_be_a_boltzmann_machine():
    machine = small_machine(prior=Independent(2))
    machine.prior.logits.data = torch.tensor([0.7, -1.2], dtype=F64)
    table = joint_table(machine, all_states(4))
    assert abs(torch.logsumexp(table.flatten(), 0).item()) < 1e-9
    exact = torch.logsumexp(table, 1)
    assert (machine.log_prob(all_states(4), 20_000) - exact).abs().max() < 0.1
    dreams = machine.generate(20_000)
    assert (dreams.mean(0) - exact.exp() @ all_states(4)).abs().max() < 5 / 20_000**0.5
    (-machine.log_weights(all_states(4), 5).mean()).backward()
    assert all(p.grad is not None for p in machine.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_what_comes_in_takes_the_dtype_of_the_machine(dtype):
    machine = class_machine(Independent(2)).to(dtype)
    for v in (V.float(), V.double(), V.long()):
        assert machine.log_prob(v, 2).dtype is dtype
        for method in (machine.classify, machine.read_out):
            assert method(v, 2).dtype is dtype
        assert machine.complete(v, torch.arange(5) < 2, 2).dtype is dtype
        assert machine.reconstruct(v).dtype is dtype
    assert machine.generate(3).dtype is dtype


def test_visible_units_of_mixed_kinds():
    parts = [ContinuousSpins(2), NormalUnits(1), PoissonUnits(1), OrdinalUnits(2, 4), OneHot(3)]
    machine = small_machine(Concatenated(parts), visible=9)
    rows = machine.generate(200)
    assert (rows[:, 3] >= 0).all() and (rows[:, 3] == rows[:, 3].round()).all()
    (-machine.log_weights(rows, 4).mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in machine.parameters())
    assert machine.num_classes == 3 and machine.classify(rows, 5).shape == (200, 3)
    completed = machine.complete(rows, torch.arange(9) % 2 == 0, 5)
    assert torch.equal(completed[:, ::2], rows[:, ::2])


def test_pixels_in_a_row_under_a_class():
    row = Autoregressive(Spins(2), CausalLinear(2))
    machine = small_machine(Concatenated([row, OneHot(3)]), visible=5)
    row.context.weight.data.fill_(1.5)
    joint = torch.logsumexp(joint_table(machine, V), 1).view(4, 3)
    assert abs(torch.logsumexp(joint.flatten(), 0).item()) < 1e-6
    assert (machine.classify(V[::3], 20_000) - torch.softmax(joint, -1)).abs().max() < 0.02
    dreams = machine.generate(20_000)
    assert (dreams.mean(0) - joint.flatten().exp() @ V).abs().max() < 5 / 20_000**0.5
    agree = (dreams[:, 0] * dreams[:, 1]).mean()
    assert abs(agree - joint.flatten().exp() @ (V[:, 0] * V[:, 1])) < 5 / 20_000**0.5 < agree
    pixels = machine.reconstruct(V, num_draws=1)[:, :2]
    assert (pixels.abs() == 1).all()
    with pytest.raises(ValueError, match="the output is Concatenated.*, but completion needs"):
        machine.complete(V, torch.arange(5) < 1)


def test_a_step_is_traced_as_one_graph_at_any_batch_size():
    parts = [ContinuousSpins(2), NormalUnits(1), PoissonUnits(1), OrdinalUnits(1, 4), OneHot(3)]
    machine = small_machine(Concatenated(parts), 8, Independent(2))

    def step(visible):
        dream = machine.generator.sample(machine.recognition.sample(visible)[-1])[-1]
        return machine.log_weights(visible, 3).mean() + machine.recognition.draw(dream).log_prob

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    for rows in (4, 7, 9):
        visible = machine.generate(rows)
        torch.manual_seed(1)
        expected = step(visible)
        torch.manual_seed(1)
        torch.testing.assert_close(compiled(visible), expected)


CONFIG = """
recognition:
  class_path: qahm_torch.BeliefNetwork
  init_args: {widths: [5, 3], temperature: 0.5}
generator:
  class_path: qahm_torch.BeliefNetwork
  init_args:
    widths: [3, 5]
    output:
      class_path: qahm_torch.Concatenated
      init_args:
        parts:
          - class_path: qahm_torch.Autoregressive
            init_args:
              units: {class_path: qahm_torch.NormalUnits, init_args: {num_units: 2}}
              context:
                class_path: qahm_torch.CausalLinear
                init_args: {num_units: 2, num_per_unit: 2}
          - {class_path: qahm_torch.OrdinalUnits, init_args: {num_units: 3, num_levels: 4}}
prior: {class_path: qahm_torch.QuantumPriorLayer, init_args: {graph_or_n: 3}}
"""


def test_machines_are_made_from_yaml(tmp_path):
    (tmp_path / "machine.yaml").write_text(CONFIG)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(HelmholtzMachine, "machine")
    settings = parser.parse_args([f"--machine={tmp_path / 'machine.yaml'}"])
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    machine = instantiate(settings).machine
    assert machine.recognition.rsample(torch.zeros(5)).states[0].requires_grad
    assert machine.generate(4).shape == (4, 5)


# Loading.


def snapshot(machine):
    tensors = {
        k: v.clone() for k, v in machine.state_dict().items() if isinstance(v, torch.Tensor)
    }
    return tensors, machine.prior.chains.spins.clone()


@pytest.mark.parametrize("other", ["graph", "widths"])
def test_a_state_that_does_not_fit_changes_nothing(other):
    def machine(graph, hidden):
        prior = QuantumPriorLayer(graph, num_samples=8)
        return HelmholtzMachine(
            BeliefNetwork([4, hidden, 3]), BeliefNetwork([3, hidden, 4]), prior
        )

    own = machine(CouplingGraph(3, [(0, 1)]), 5)
    own.prior.draw()
    alien = machine(
        CouplingGraph(3, [(0, 2) if other == "graph" else (0, 1)]), 5 + (other == "widths")
    )
    tensors, chains = snapshot(own)
    with pytest.raises((ValueError, RuntimeError)):
        own.load_state_dict(alien.state_dict())
    after, chains_after = snapshot(own)
    assert tensors.keys() == after.keys()
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    assert torch.equal(chains, chains_after)
    fitting = machine(own.prior.graph, 5)
    own.load_state_dict(fitting.state_dict())
    assert torch.equal(own.generator.layers[0].weight, fitting.generator.layers[0].weight)
    assert own.prior.chains is None
