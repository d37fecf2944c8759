r"""The conformance suite of samplers: what every one of them promises, as checks that raise."""

from __future__ import annotations

__all__ = ["CHECKS", "Subject", "check_sampler"]

import copy
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qahm_torch.ising import Chains, CouplingGraph, Ising, all_states, exact_log_probs, moments
from qahm_torch.samplers import Sampler

F64 = torch.float64
# Below this probability, samples are not of the law that they are compared with.
SIGNIFICANT = 1e-3
# A sampler at another temperature than it should be at must be found out.
OTHER_BETAS = (0.8, 1.2)


def small_models(takes_gamma: bool = False) -> dict[str, Ising]:
    r"""Returns the models that samplers are compared with the exact law on, of 4 to 6 spins."""
    ring = CouplingGraph(5, [(i, (i + 1) % 5) for i in range(5)])
    models = {
        "complete": _random_model(CouplingGraph.complete(5), 0.4, seed=1),
        "bipartite": _random_model(CouplingGraph.bipartite(3, 3), 0.6, seed=2),
        "ring": _random_model(ring, 0.7, seed=3),
        "independent": _random_model(CouplingGraph(4, []), 0.8, seed=4),
    }
    if takes_gamma:
        graph = CouplingGraph.complete(4)
        models["transverse"] = _random_model(graph, 0.6, seed=5, gamma=1.0)
    return models


@dataclass(frozen=True)
class Subject:
    r"""A sampler that is checked, and how.

    Arguments:
        sampler: The sampler.
        models: The models that it is asked for, by name; at most about 10 spins each.
        num_samples: The number of samples for comparisons with the exact law.
        max_error: None for samplers of the exact law, whose samples are tested by chi-square; for
            others, such as a device, the largest error of their moments that passes.
    """

    sampler: Sampler
    models: Mapping[str, Ising] = field(default_factory=dict)
    num_samples: int = 20_000
    max_error: float | None = None

    @property
    def model(self) -> Ising:
        r"""The first of the models."""
        return next(iter(self.models.values()))

    def agrees(self, spins: Tensor, ising: Ising, clamp: Tensor | None = None) -> bool:
        r"""Whether samples (S, N) are of the law of a model, given what is held of it, (N,)."""
        states = all_states(ising.num_spins)
        double = Ising(ising.graph, ising.h.double(), ising.J.double(), ising.gamma)
        probs = exact_log_probs(double).exp()
        if clamp is not None:
            probs = probs * ((clamp == 0) | (states == clamp)).all(-1)
        probs = probs / probs.sum()
        if self.max_error is None:
            return _p_value(spins, probs) > SIGNIFICANT
        found, exact = (moments(ising.graph, s, w) for s, w in ((spins, None), (states, probs)))
        errors = [(a - b).abs().max() for a, b in zip(found, exact, strict=True) if len(b)]
        return bool(max(errors) < self.max_error)


def check_sampler(
    sampler: Sampler,
    *,
    models: Mapping[str, Ising] | None = None,
    num_samples: int = 20_000,
    max_error: float | None = None,
    skip: Collection[str] = (),
) -> None:
    r"""Checks that a sampler does what the interface promises.

    What it says of itself (`can_clamp`, `takes_gamma`, `keeps_chains`) decides what is checked: it
    must do what it can, and refuse the rest.

    Arguments:
        sampler: The sampler.
        models: The models that it is asked for, by name; those of `small_models` by default.
        num_samples: The number of samples for comparisons with the exact law.
        max_error: See `Subject`.
        skip: Names of `CHECKS` to leave out.

    Raises:
        AssertionError: If a check fails; it says which, and what was seen.
        ValueError: If `skip` names no check.

    Example:
        >>> from qahm_torch import ExactSampler
        >>> check_sampler(ExactSampler())
    """
    unknown = set(skip) - set(CHECKS)
    if unknown:
        raise ValueError(f"skip holds {sorted(unknown)[0]!r}, but checks are {', '.join(CHECKS)}")
    known = small_models(sampler.takes_gamma) if models is None else models
    subject = Subject(sampler, known, num_samples, max_error)
    for name, check in CHECKS.items():
        if name not in skip:
            check(subject)


def check_law(subject: Subject) -> None:
    r"""Samples follow the exact law of each model, and not that of another temperature."""
    for name, ising in subject.models.items():
        spins = _spins(subject, ising, subject.num_samples)
        assert subject.agrees(spins, ising), f"samples of {name!r} are not of its law"
        for beta in OTHER_BETAS:
            other = ising.scaled(beta)
            assert not subject.agrees(spins, other), f"samples of {name!r} fit at beta {beta}, too"


def check_clamp(subject: Subject) -> None:
    r"""Held spins stay, the others follow the conditional law; or holding is refused."""
    ising = subject.model
    clamp = torch.zeros(ising.num_spins, dtype=F64)
    clamp[1], clamp[3] = 1.0, -1.0
    if not subject.sampler.can_clamp:
        _assert_refused(lambda: subject.sampler.sample(ising, 2, clamp=clamp), "cannot hold spins")
        return
    spins = _spins(subject, ising, subject.num_samples, clamp=clamp)
    assert (spins[:, 1] == 1).all() and (spins[:, 3] == -1).all(), "held spins have moved"
    assert subject.agrees(spins, ising, clamp), "free spins are not of the conditional law"


def check_clamped_rows(subject: Subject) -> None:
    r"""Spins can be held row by row, and a row with all spins held comes back."""
    if not subject.sampler.can_clamp:
        return
    ising, number = subject.model, subject.num_samples // 5
    rows = torch.zeros(3, ising.num_spins, dtype=F64)
    rows[0, 0], rows[1, 1], rows[1, 2], rows[2] = 1.0, -1.0, 1.0, -1.0
    clamp = rows.repeat(number, 1)
    spins = _spins(subject, ising, len(clamp), clamp=clamp)
    assert spins.shape == clamp.shape, f"{len(clamp)} rows were held and {len(spins)} came back"
    assert torch.equal(spins[clamp != 0], clamp[clamp != 0]), "held spins have moved"
    for k in range(2):
        assert subject.agrees(spins[k::3], ising, rows[k]), (
            f"row {k} is not of its conditional law"
        )


def check_gamma(subject: Subject) -> None:
    r"""A transverse field is refused by what does not take it."""
    if not subject.sampler.takes_gamma:
        ising = subject.model
        quantum = Ising(ising.graph, ising.h, ising.J, gamma=1.0)
        _assert_refused(lambda: subject.sampler.sample(quantum, 2), "gamma is not 0")


def check_seed(subject: Subject) -> None:
    r"""The generator decides, torch's own is left alone, and the model stays as it is."""
    ising = subject.model
    before, state = (ising.h.clone(), ising.J.clone()), torch.get_rng_state()
    first, again, other = (_spins(subject, ising, 40, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again), "the same seed gave other samples"
    assert not torch.equal(first, other), "another seed gave the same samples"
    assert torch.equal(torch.get_rng_state(), state), "torch's own random numbers have moved"
    assert torch.equal(ising.h, before[0]) and torch.equal(ising.J, before[1]), "the model changed"


def check_shape(subject: Subject) -> None:
    r"""Samples are (S, N) of +-1, in the dtype of the model and without gradient."""
    for dtype in (torch.float32, F64):
        model = subject.model
        h, J = (x.detach().to(dtype).requires_grad_() for x in (model.h, model.J))
        samples = subject.sampler.sample(Ising(model.graph, h, J, model.gamma), 7)
        spins = samples.spins
        assert spins.shape == (7, model.num_spins), f"7 samples have shape {tuple(spins.shape)}"
        assert spins.dtype == dtype, f"samples are {spins.dtype}, but the model is {dtype}"
        assert not spins.requires_grad, "samples have a gradient"
        assert bool((spins.abs() == 1).all()), "samples hold values other than -1 and +1"
        assert samples.info is not None and "start" in samples.info, "info does not say the start"


def check_requests(subject: Subject) -> None:
    r"""What cannot be asked is refused, and named."""
    ising, sampler = subject.model, subject.sampler
    n = ising.num_spins
    _assert_refused(lambda: sampler.sample(ising, 0), "num_samples is 0")
    _assert_refused(lambda: sampler.sample(ising, 4, clamp=torch.zeros(n - 1)), "clamp has shape")
    half = torch.full((n,), 0.5)
    _assert_refused(lambda: sampler.sample(ising, 4, clamp=half), "clamp holds 0.5")
    h = ising.h.clone()
    h[1] = torch.nan
    broken = Ising(ising.graph, h, ising.J, ising.gamma)
    _assert_refused(lambda: sampler.sample(broken, 4), "h[1] is nan")


def check_submission(subject: Subject) -> None:
    r"""A submission sees the parameters of its time, and has one answer."""
    model = subject.model
    ising = Ising(model.graph, model.h.clone(), model.J.clone(), model.gamma)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = subject.sampler.sample(ising, 30, generator=generators[0]).spins
    submission = subject.sampler.submit(ising, 30, generator=generators[1])
    ising.h.neg_()
    samples = submission.result()
    assert submission.result() is samples, "a second result is another one"
    assert torch.equal(samples.spins, expected), "a change after the submission reached it"


def check_chains(subject: Subject) -> None:
    r"""Chains run on from where they were, also when they were pickled or stored."""
    ising, sampler = subject.model, subject.sampler
    generator = torch.Generator().manual_seed(0)
    first = sampler.sample(ising, 10, generator=generator)
    if first.state is None:
        return
    assert sampler.keeps_chains, "chains came back of a sampler that says it keeps none"
    stored = Chains.from_state_dict(pickle.loads(pickle.dumps(first.state.state_dict())))
    kept = generator.get_state()
    second = sampler.sample(ising, 10, state=first.state, generator=generator)
    generator.set_state(kept)
    again = sampler.sample(ising, 10, state=stored, generator=generator)
    assert torch.equal(second.spins, again.spins), "stored chains ran on elsewhere"
    assert second.info is not None, "info does not say the start"
    assert second.info.get("start") == "resumed", "chains did not run on"


def check_foreign_chains(subject: Subject) -> None:
    r"""Chains of other samplers, of other numbers and of other models are taken or left aside."""
    ising, sampler = subject.model, subject.sampler
    n = ising.num_spins
    own = sampler.sample(ising, 6).state
    ones = torch.ones(4, n)
    foreign: Sequence[Chains | Tensor | None] = [
        Foreign(ones, torch.zeros(4)),
        ones,
        own,
        Chains(torch.ones(4, n + 1)),
        Chains(torch.ones(0, n)),
        None,
    ]
    for state in foreign:
        samples = sampler.sample(ising, 9, state=state)
        assert samples.spins.shape == (9, n), f"9 samples came back as {samples.spins.shape}"
        fits = state is not None and (state if isinstance(state, Tensor) else state.spins).shape[1]
        start = (samples.info or {}).get("start")
        if fits != n or not sampler.keeps_chains:
            assert start == "fresh", f"there was nothing to start from, but it says {start!r}"


def check_copies(subject: Subject) -> None:
    r"""Copies and pickles sample as the original does."""
    for twin in (copy.deepcopy(subject.sampler), pickle.loads(pickle.dumps(subject.sampler))):
        spins = twin.sample(subject.model, 5).spins
        assert spins.shape == (5, subject.model.num_spins), "a copy does not sample"
    assert type(subject.sampler).__name__ in repr(subject.sampler), "repr does not name the class"


CHECKS: dict[str, Callable[[Subject], None]] = {
    "law": check_law,
    "clamp": check_clamp,
    "clamped_rows": check_clamped_rows,
    "gamma": check_gamma,
    "seed": check_seed,
    "shape": check_shape,
    "requests": check_requests,
    "submission": check_submission,
    "chains": check_chains,
    "foreign_chains": check_foreign_chains,
    "copies": check_copies,
}


@dataclass(frozen=True)
class Foreign(Chains):
    r"""Chains of a sampler that nobody knows."""

    momentum: Tensor


def _spins(
    subject: Subject, ising: Ising, num_samples: int, clamp: Tensor | None = None, seed: int = 0
) -> Tensor:
    r"""Returns equally weighted samples in double precision."""
    generator = torch.Generator().manual_seed(seed)
    samples = subject.sampler.sample(ising, num_samples, clamp=clamp, generator=generator)
    if samples.weights is None:
        return samples.spins.to(F64)
    drawn = torch.multinomial(samples.weights, num_samples, True, generator=generator)
    return samples.spins.to(F64)[drawn]


def _random_model(
    graph: CouplingGraph, scale: float, seed: int, gamma: float | None = None
) -> Ising:
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(graph.num_spins, generator=generator, dtype=F64)
    J = scale * torch.randn(graph.num_edges, generator=generator, dtype=F64)
    return Ising(graph, h, J, gamma)


def _p_value(spins: Tensor, probs: Tensor) -> float:
    r"""Returns the p-value of Pearson's test of samples (S, N) against a law of states (2^N,)."""
    from scipy.stats import chi2

    index = ((spins > 0).long() << torch.arange(spins.shape[1])).sum(-1)
    counts = torch.bincount(index, minlength=len(probs)).to(F64)
    possible = probs > 0
    if bool(counts[~possible].any()):
        return 0.0
    expected = probs[possible] * len(spins)
    statistic = ((counts[possible] - expected).square() / expected).sum()
    return float(chi2.sf(float(statistic), len(expected) - 1))


def _assert_refused(call: Callable[[], object], message: str) -> None:
    try:
        call()
    except ValueError as error:
        assert message in str(error), f"the refusal should say {message!r}, but says {error}"
    else:
        raise AssertionError(f"what should be refused with {message!r} was taken")
