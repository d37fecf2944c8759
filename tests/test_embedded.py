import copy
import io
import math
import pickle

import pytest
import torch
from models import F64, law, p_value, random_ising
from small_runs import (
    Counting,
    Hot,
    digits,
    metrics_of,
    quiet_trainer,
    same_weights,
    small_machine,
    weights_of,
)

from qahm_torch import (
    AnnealerSampler,
    CouplingGraph,
    EmbeddedPrior,
    ExactSampler,
    Fallback,
    GibbsSampler,
    HelmholtzMachine,
    Ising,
    ProgramSettings,
    Samples,
    SimulatedAnnealer,
    WakeSleep,
)
from qahm_torch.data import BarsAndStripes
from qahm_torch.device import PlacementError
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs
from qahm_torch.training import (
    ChainDiagnostics,
    LogPartitionMonitor,
    MachineModule,
    MaximumLikelihood,
    TemperatureMonitor,
)

# A cell of a Chimera chip, whose qubits have names and are not in the order of the strands.
CELL = CouplingGraph(8, CouplingGraph.bipartite(4, 4).edges, labels="abcdefgh")
PAIRS = ["hb", "af", "gd"]


def prior_of(strands=PAIRS, graph=CELL, seed=0, **settings):
    r"""Returns a prior with parameters that are not small."""
    prior = EmbeddedPrior(graph, strands, **settings).double()
    ising = random_ising(prior.graph, 0.7, seed)
    with torch.no_grad():
        prior.h.copy_(ising.h)
        prior.J.add_(ising.J)
    prior.estimate_log_z()
    return prior


def exact_samples(ising):
    ising = ising.detach()
    return Samples(all_states(ising.num_spins), weights=exact_log_probs(ising).exp())


def train(prior, target, device_beta=1.0, num_steps=200, frozen=False):
    r"""Matches the moments of copied data to those of an exact device."""
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(num_steps):
        negative = exact_samples(prior.ising().scaled(device_beta))
        optimizer.zero_grad()
        (-(target * prior.log_prob(all_states(3), negative)).sum()).backward()
        if frozen:
            prior.J.grad[prior.inside_strands] = 0
        optimizer.step()
    prior.estimate_log_z()
    return prior


def divergence(target, log_probs):
    return float((target * (target.log() - log_probs)).sum().detach())


def test_qubits_in_no_strand_are_left_out():
    prior = prior_of()
    assert set(prior.graph.labels) == set("abdfgh") and prior.num_visible == 3
    assert prior.h.shape == (6,) and prior.J.shape == (9,)
    assert int(prior.inside_strands.sum()) == 3


def test_strands_start_strong_and_the_rest_weak():
    prior = EmbeddedPrior(CELL, PAIRS, strand_coupling=3.0)
    inside = prior.inside_strands
    assert (prior.J[inside] == -3).all() and (prior.J[~inside].abs() < 0.5).all()
    exact = exact_log_partition(prior.ising().detach())
    assert float(prior.log_z) == pytest.approx(float(exact), abs=1e-5)


def test_copies_lie_on_the_strands_and_votes_bring_them_back():
    prior = prior_of()
    u = all_states(3)
    spins = prior.from_visible(u)
    for k, strand in enumerate(PAIRS):
        for qubit in strand:
            assert torch.equal(spins[:, prior.graph.labels.index(qubit)], u[:, k])
    assert torch.equal(prior.to_visible(spins), u) and not prior.is_broken(spins).any()
    assert prior.to_visible(spins.view(2, 4, 6)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("qubits", "vote"),
    [
        ([1, 1, -1], 1),
        ([-1, 1, 1], 1),
        ([-1, 1, -1], -1),
        ([1, -1], 1),
        ([-1, 1], -1),
        ([1, -1, -1, 1], 1),
        ([-1, -1, 1, 1], -1),
        ([-1], -1),
    ],
)
def test_the_majority_wins_and_the_first_qubit_decides_a_tie(qubits, vote):
    n = len(qubits)
    prior = EmbeddedPrior(CouplingGraph(n, [(i, i + 1) for i in range(n - 1)]), [range(n)])
    spins = torch.tensor([qubits]).float()
    assert prior.to_visible(spins).tolist() == [[vote]]
    assert prior.to_visible(-spins).tolist() == [[-vote]]
    assert bool(prior.is_broken(spins)) == (len(set(qubits)) > 1)


def test_gradient_is_that_of_the_enumerated_log_probability():
    prior = prior_of()
    data = all_states(3)[[0, 3, 3, 5, 6]]
    relaxed = (0.8 * data).requires_grad_()
    (-prior.log_prob(relaxed, exact_samples(prior.ising())).mean()).backward()
    h, J = (x.detach().clone().requires_grad_() for x in (prior.h, prior.J))
    model = Ising(prior.graph, h, J)
    spins = 0.8 * prior.from_visible(data).requires_grad_()
    (model.energy(spins).mean() + exact_log_partition(model)).backward()
    torch.testing.assert_close(prior.h.grad, h.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(prior.J.grad, J.grad, rtol=0, atol=1e-10)
    assert relaxed.grad.abs().min() > 0


def test_gradient_inside_a_strand_is_twice_the_probability_of_a_break():
    prior = prior_of([*PAIRS[:2], "g"])
    samples = exact_samples(prior.ising())
    (-prior.log_prob(all_states(3), samples).mean()).backward()
    broken = samples.weights @ prior.is_broken(samples.spins).double()
    assert broken[2] == 0
    i, _ = prior.graph.edges[prior.inside_strands].unbind(-1)
    expected = 2 * broken[prior.strand_of[i]]
    torch.testing.assert_close(prior.J.grad[prior.inside_strands], expected)


def test_log_prob_by_sums_over_strands_is_that_of_the_copies():
    qubits, strands = CouplingGraph.chimera(2), [(0, 4, 1), (5, 13, 8), (2, 18), (3,), (7,)]
    prior = EmbeddedPrior(qubits, strands, sampler=GibbsSampler(2), num_samples=50).double()
    negative, spins = prior.draw(), 2 * torch.rand(9, 5, dtype=F64) - 1
    ways = [
        prior.log_prob(spins, negative),
        -prior.energy(prior.from_visible(spins)) - prior.log_partition(negative),
    ]
    torch.testing.assert_close(*ways)
    parameters = [prior.h, prior.J]
    gradients = [torch.autograd.grad(way.sum(), parameters) for way in ways]
    torch.testing.assert_close(*gradients)


def test_sampler_runs_once_per_backward_and_never_in_forward():
    sampler = Counting(ExactSampler())
    prior = prior_of(sampler=sampler, num_samples=8)
    loss = -prior(all_states(3)).mean()
    assert sampler.calls == 0
    loss.backward()
    assert sampler.calls == 1
    prior.prefetch()
    assert prior.draw().spins.shape == (8, 6) and sampler.calls == 2


@pytest.mark.parametrize("strands", [PAIRS, ["hbg", "afd"], ["h", "b", "afd"]])
def test_log_prob_is_a_lower_bound_of_that_of_decoded_samples(strands):
    prior = prior_of(strands)
    u = all_states(len(strands))
    bound, exact = prior(u).detach(), prior.logical_log_prob(u).detach()
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert (bound < exact - 0.01).all()
    samples = exact_samples(prior.ising())
    whole = samples.weights @ (~prior.is_broken(samples.spins).any(-1)).double()
    assert float(bound.exp().sum()) == pytest.approx(float(whole), abs=1e-12)
    drawn = ExactSampler().sample(prior.ising(), 20_000, generator=torch.manual_seed(1))
    assert p_value(prior.to_visible(drawn.spins), exact.exp()) > 1e-3
    assert p_value(prior.to_visible(drawn.spins), torch.softmax(bound, 0)) < 1e-3


def test_the_bound_is_tight_when_strands_never_break():
    prior = prior_of(strand_coupling=15.0)
    u = all_states(3)
    torch.testing.assert_close(prior(u), prior.logical_log_prob(u), rtol=0, atol=1e-8)
    assert (prior_of(strand_coupling=2.0)(u) < prior.logical_log_prob(u)).any()


def test_logical_log_prob_is_differentiable():
    prior = prior_of()
    weights = torch.randn(8, dtype=F64, generator=torch.manual_seed(0))

    def value(h, J):
        probs = law(Ising(prior.graph, h, J))
        decoded = prior.to_visible(all_states(6))
        sums = [probs[(decoded == u).all(-1)].sum().log() for u in all_states(3)]
        return weights @ torch.stack(sums)

    h, J = (x.detach().clone().requires_grad_() for x in (prior.h, prior.J))
    expected = value(h, J)
    expected.backward()
    found = weights @ prior.logical_log_prob(all_states(3))
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(prior.h.grad, h.grad)
    torch.testing.assert_close(prior.J.grad, J.grad)


def test_moment_matching_learns_a_law_and_fixed_strands_do_not():
    target = law(random_ising(CouplingGraph.complete(3), 1.0, seed=2))
    learned = train(prior_of(strand_coupling=0.5), target)
    assert 0 <= divergence(target, learned.logical_log_prob(all_states(3))) < 1e-4
    assert divergence(target, learned(all_states(3))) < 0.01
    twin = prior_of(strand_coupling=0.0)
    with torch.no_grad():
        twin.J[twin.inside_strands] = 0
    train(twin, target, frozen=True)
    assert divergence(target, twin.logical_log_prob(all_states(3))) > 0.05


def test_a_device_at_an_unknown_temperature_learns_all_the_same():
    target = law(random_ising(CouplingGraph.complete(3), 1.0, seed=2))
    prior = train(prior_of(strand_coupling=0.5), target, device_beta=2.0)
    at_beta_1 = prior.logical_log_prob(all_states(3)).detach()
    with torch.no_grad():
        prior.h.mul_(2)
        prior.J.mul_(2)
    assert divergence(target, prior.logical_log_prob(all_states(3))) < 1e-4
    assert divergence(target, at_beta_1) > 0.05


def test_a_clamp_holds_whole_strands():
    prior = prior_of(sampler=ExactSampler(), num_samples=8)
    prior.draw()
    spins = prior.sample(50, clamp=torch.tensor([1.0, 0.0, -1.0]))
    u = prior.to_visible(spins)
    assert (u[:, 0] == 1).all() and (u[:, 2] == -1).all() and (u[:, 1].abs() == 1).all()
    assert not prior.is_broken(spins)[:, [0, 2]].any() and prior.is_broken(spins)[:, 1].any()


def test_it_is_a_boltzmann_machine_of_the_qubits():
    prior = prior_of(sampler=GibbsSampler(1), num_samples=16)
    prior.draw()
    assert prior.chains.spins.shape == (16, 6)
    prior.forget_chains()
    prior.sampler, prior.num_samples = ExactSampler(), 4000
    assert prior.gamma is None and prior.chains is None
    assert len(prior.draw().spins) == 4000
    beta = prior.estimate_beta()
    assert abs(beta.value - 1) < 5 * beta.stderr < 0.5
    mean = prior.expectation(lambda s: prior.to_visible(s), exact_samples(prior.ising()))
    expected = prior.logical_log_prob(all_states(3)).exp() @ all_states(3)
    torch.testing.assert_close(mean, expected)
    assert prior.energy(all_states(6)).shape == (64,)
    assert "num_visible=3, longest_strand=2" in repr(prior)


def test_state_dict_is_safe_and_refuses_another_embedding():
    prior = prior_of()
    buffer = io.BytesIO()
    torch.save(prior.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    twin = prior_of(seed=1)
    twin.load_state_dict(state)
    assert torch.equal(twin(all_states(3)), prior(all_states(3)))
    for strands in (["ha", "bf", "gd"], ["bh", "af", "gd"], ["hbg", "af", "d"]):
        other = prior_of(strands, seed=1)
        before = other.J.clone()
        with pytest.raises(ValueError, match="or the same numbers with other qubits"):
            other.load_state_dict(state)
        assert torch.equal(other.J, before)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_train_on_their_own(clone):
    prior = prior_of(num_samples=16)
    prior.prefetch()
    twin = clone(prior)
    (-twin(all_states(3)).mean()).backward()
    assert prior.h.grad is None and twin.h.grad is not None
    assert torch.equal(twin(all_states(3)), prior(all_states(3)))


def embedded_machine(sampler=None):
    machine = small_machine(widths=(74, 12, 3))
    prior = EmbeddedPrior(CELL, PAIRS, sampler=sampler or GibbsSampler(2), num_samples=32)
    return HelmholtzMachine(machine.recognition, machine.generator, prior)


def test_a_helmholtz_machine_trains_and_is_watched(tmp_path):
    torch.manual_seed(0)
    callbacks = [ChainDiagnostics(8), LogPartitionMonitor(2), TemperatureMonitor(2)]
    sampler = Counting(GibbsSampler(2))
    module = MachineModule(embedded_machine(sampler), WakeSleep())
    before = weights_of(module)
    trainer = quiet_trainer(tmp_path, callbacks=callbacks[1:], max_epochs=1)
    trainer.fit(module, digits())
    assert sampler.calls == trainer.global_step == 4
    assert not any(torch.equal(p, before[name]) for name, p in weights_of(module).items())
    assert {"prior/beta", "prior/log_z", "val/log_likelihood"} <= metrics_of(trainer).keys()
    assert module.machine.generate(5).shape == (5, 74)
    trainer = quiet_trainer(tmp_path, callbacks=callbacks[:1], max_epochs=1)
    trainer.fit(module, digits())
    assert "prior/r_hat" in metrics_of(trainer)


def test_a_hot_device_is_noticed(tmp_path):
    module = MachineModule(embedded_machine(Hot()), WakeSleep())
    module.prior.num_samples = 4000
    trainer = quiet_trainer(tmp_path, callbacks=[TemperatureMonitor(1)], limit_val_batches=0)
    with pytest.warns(UserWarning, match="instead of 1"):
        trainer.fit(module, digits())


@pytest.mark.parametrize("chains_kept", [True, False])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(chains_kept, tmp_path):
    def run(max_epochs, ckpt_path=None):
        torch.manual_seed(0)
        module = MachineModule(embedded_machine(), WakeSleep())
        trainer = quiet_trainer(tmp_path, max_epochs=max_epochs, limit_val_batches=0)
        trainer.fit(module, digits(), ckpt_path=ckpt_path)
        return module, trainer

    whole, _ = run(2)
    _, trainer = run(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    if not chains_kept:
        checkpoint = torch.load(tmp_path / "half.ckpt", weights_only=True)
        checkpoint["prior_chains"] = None
        torch.save(checkpoint, tmp_path / "half.ckpt")
    resumed, _ = run(2, tmp_path / "half.ckpt")
    assert same_weights(weights_of(resumed), weights_of(whole)) == chains_kept


@pytest.mark.parametrize(
    ("negative", "sampler"), [("sampler", ExactSampler()), ("data", GibbsSampler(10))]
)
def test_maximum_likelihood_without_a_network(negative, sampler, tmp_path):
    torch.manual_seed(0)
    graph = CouplingGraph.bipartite(4, 4)
    strands = [(i, i + 4) for i in range(4)]
    prior = EmbeddedPrior(graph, strands, num_samples=200, sampler=sampler)
    module = MaximumLikelihood(prior, negative, optimizer=lambda p: torch.optim.Adam(p, 0.03))
    data = BarsAndStripes(side=2, batch_size=60, num_repeats=40)
    quiet_trainer(tmp_path, max_epochs=12, limit_val_batches=0).fit(module, data)
    prior.estimate_log_z()
    # Six pictures of 16: -log 6 is the best that there is, and -log 16 is what no learning gives.
    assert -math.log(6) - 0.3 < prior(data.train).mean().item() < -math.log(6)


def annealer(**settings):
    device = SimulatedAnnealer("zephyr", 2, missing_qubits=5, beta=2.0, seed=0)
    return AnnealerSampler(device, **settings)


@pytest.mark.parametrize("max_qubits", [None, 60])
def test_a_complete_graph_is_placed_on_a_device(max_qubits):
    sampler = annealer()
    prior = EmbeddedPrior.on_device(10, sampler, max_qubits=max_qubits, num_samples=50)
    assert prior.num_visible == 10 and prior.sampler is sampler and prior.num_samples == 50
    assert set(prior.graph.labels) <= set(sampler.chip.qubits.tolist())
    shortest = EmbeddedPrior.on_device(10, annealer()).graph.num_spins
    assert 10 < shortest < 60 and prior.graph.num_spins == (max_qubits or shortest)
    i, j = prior.strand_of[prior.graph.edges].unbind(-1)
    coupled = {tuple(sorted(pair)) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    assert {(a, b) for a in range(10) for b in range(a)} <= {(b, a) for a, b in coupled}
    assert (prior.J[prior.inside_strands] == -2).all()
    assert sampler.account.spent == 0


def test_qubits_are_sampled_where_they_stand():
    # Chains are too strong for positive couplings; no gauge makes them so.
    prior = EmbeddedPrior.on_device(6, annealer(), num_samples=200, strand_coupling=3.5)
    (-prior(torch.ones(5, 6)).mean()).backward()
    placement = prior.sampler.site(prior.graph).placement
    assert [strand for (strand,) in placement.strands[0]] == list(prior.graph.labels)
    assert (prior.J.grad[prior.inside_strands] >= 0).all() and prior.h.grad.abs().min() > 0


def test_it_learns_on_a_device_at_a_temperature_that_nobody_told(tmp_path):
    torch.manual_seed(0)
    prior = EmbeddedPrior.on_device(
        4, annealer(programming=ProgramSettings(range_policy="clip")), num_samples=300
    )
    module = MaximumLikelihood(prior, optimizer=lambda p: torch.optim.Adam(p, 0.03))
    data = BarsAndStripes(side=2, batch_size=60, num_repeats=40)
    quiet_trainer(tmp_path, max_epochs=12, limit_val_batches=0).fit(module, data)
    prior.estimate_log_z()
    assert -math.log(6) - 0.3 < prior(data.train).mean().item() < -math.log(6)


def test_the_annealer_may_be_wrapped():
    sampler = Fallback(annealer(), ExactSampler())
    prior = EmbeddedPrior.on_device(6, sampler, num_samples=20)
    assert prior.sampler is sampler and prior.draw().spins.shape == (20, prior.graph.num_spins)
    with pytest.raises(TypeError, match="sampler is GibbsSampler, but qubits are those of an"):
        EmbeddedPrior.on_device(6, GibbsSampler(2))


def test_what_does_not_fit_on_a_device_is_told():
    with pytest.raises(PlacementError, match="no place for 90 spins"):
        EmbeddedPrior.on_device(90, annealer())


@pytest.mark.parametrize(
    ("strands", "message"),
    [
        ([], "strands is empty, but each"),
        (["hb", ""], "strand 1 is empty"),
        (["hb", "az"], "strand 1 names 'z', but that is no qubit"),
        (["hb", "ab"], "strand 1 names 'b', but that is in a strand already"),
        (["hb", "ac"], r"strand 1 is \['a', 'c'\], but no couplers"),
    ],
)
def test_bad_strands_are_named(strands, message):
    with pytest.raises(ValueError, match=message):
        EmbeddedPrior(CELL, strands)


def test_bad_settings_and_spins_are_named():
    with pytest.raises(ValueError, match="strand_coupling is -1"):
        EmbeddedPrior(CELL, PAIRS, strand_coupling=-1.0)
    prior = prior_of()
    for method in (prior.log_prob, prior.logical_log_prob):
        with pytest.raises(ValueError, match=r"shape \(2, 6\) do not fit 3 visible spins"):
            method(torch.ones(2, 6))
    with pytest.raises(ValueError, match="bits, 0 and 1"):
        prior(torch.tensor([[0.0, 1.0, 1.0]]))
