r"""The Triton kernels: their law, clamping, seeds and launches, interpreted and on a GPU.

Triton decides at the definition of a kernel whether it is interpreted. So this file, run as a
script, draws the spins that the tests look at.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from models import F64, SMALL_MODELS, law, random_ising, state_index
from scipy.stats import chi2

from qahm_torch import CouplingGraph, GibbsSampler, Ising, TemperingSampler
from qahm_torch.ising import all_states
from qahm_torch.kernels.population import populate
from qahm_torch.kernels.tiles import arrange_matrix, arrange_table

pytest.importorskip("triton", reason="needs triton, which is not installed")

BETAS = (0.8, 1.0, 1.2)
NUM_CHAINS = 2048
CLAMP = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0])
KINDS = ("matrix", "table")
# The ring is the slowest to forget where its chains began.
NUM_SWEEPS = {"complete": 6, "bipartite": 8, "ring": 14, "independent": 2}


def start(num_chains, num_spins, device):
    generator = torch.Generator().manual_seed(5)
    bits = torch.randint(2, (num_chains, num_spins), generator=generator, dtype=torch.int8)
    return (2 * bits - 1).to(device)


def placed(ising, device):
    return Ising(ising.graph, ising.h.to(device), ising.J.to(device))


def chip_like():
    r"""A sparse graph of uneven degrees, with more spins of a color than a tile holds."""
    graph = CouplingGraph.bipartite(2, 60)
    return random_ising(CouplingGraph(62, graph.edges[:90]), 0.5, seed=6)


def draw(device):
    r"""Returns all spins that the tests look at, by name."""
    from qahm_torch.kernels.cuda import sweep_chains

    draws = {}

    def run(name, kind, ising, state, num_sweeps, seed=7, base=None, tile=4, **kwargs):
        arrange = arrange_matrix if kind == "matrix" else partial(arrange_table, tile=tile)
        before = state.clone()
        model = arrange(placed(ising, device), base)
        draws[name, kind] = sweep_chains(model, state, num_sweeps, seed, **kwargs).cpu()
        assert torch.equal(state, before)

    for kind in KINDS:
        # Wide blocks, and tiles as small as the models, keep the interpreter busy with numpy.
        lanes = {"num_lanes": 4 * NUM_CHAINS if device == "cpu" else 16}
        betas = torch.tensor(BETAS, device=device).repeat_interleave(NUM_CHAINS)
        for name, make in SMALL_MODELS.items():
            state = start(len(betas), make().num_spins, device)
            run(name, kind, make(), state, NUM_SWEEPS[name], betas=betas, **lanes)
        lanes = {"num_lanes": NUM_CHAINS if device == "cpu" else 16}
        complete = SMALL_MODELS["complete"]()
        state = start(NUM_CHAINS, 5, device)
        run("held", kind, complete, state, 6, hold=CLAMP.to(device), **lanes)
        rows = torch.stack([CLAMP, -CLAMP]).repeat(NUM_CHAINS // 2, 1)
        run("held rows", kind, complete, state, 6, hold=rows.to(device), **lanes)
        base = torch.linspace(-1, 1, 5, device=device)
        run("base", kind, complete, state, 1, base=base, betas=torch.zeros(()), **lanes)

        wide = random_ising(CouplingGraph.complete(33), 0.2)
        run("wide", kind, wide, start(24, 33, device), 1, num_lanes=32)
        chip, few = chip_like(), start(24, 62, device)
        for tile in (4, 16):
            run(f"chip {tile}", kind, chip, few, 2, tile=tile, num_lanes=32)
        run = partial(run, tile=16)
        run("again", kind, chip, few, 2, seed=torch.tensor(7), num_lanes=32)
        run("other", kind, chip, few, 2, seed=8, num_lanes=32)
        run("small blocks", kind, chip, few, 2, num_lanes=8, num_warps=1)
        run("fewer chains", kind, chip, few[:13], 2, num_lanes=16)
        schedule = torch.linspace(0.1, 1, 2, device=device).unsqueeze(-1)
        run("schedule", kind, chip, few, 2, betas=schedule, num_lanes=32)
        run("default", kind, chip, few.float(), 2)
    complete = placed(complete, device)
    samples = GibbsSampler(6, backend="triton").sample(
        complete, NUM_CHAINS, clamp=CLAMP.to(device)
    )
    draws["sampler"] = samples.spins.to(torch.int8).cpu()
    draws["backends"] = [samples.info["backend"]]
    ladders = TemperingSampler(2, 3, backend="torch").sample(complete, 8).state
    samples = TemperingSampler(2, 3, backend="triton").sample(complete, 8, state=ladders)
    draws["ladders"] = samples.state.rungs.cpu(), ladders.rungs.cpu()
    draws["backends"].append(samples.info["backend"])
    chains = populate(complete, 8, base=complete.h / 2, backend="triton")
    energies = complete.energy(chains.spins) - chains.spins.to(complete.h) @ complete.h / 2
    draws["weights"] = chains.anneal(torch.tensor([0.25, 1.0])).cpu(), (-0.75 * energies).cpu()
    return draws


def draw_interpreted(path):
    root = Path(__file__).parents[1]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-W", "error", __file__, str(path)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    return torch.load(path)


@pytest.fixture(
    scope="module", params=[pytest.param("interpreted", marks=pytest.mark.slow), "cuda"]
)
def draws(request, tmp_path_factory):
    if request.param == "interpreted":
        return draw_interpreted(tmp_path_factory.mktemp("triton") / "draws.pt")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return draw("cuda")


def p_value(spins, probabilities):
    counts = torch.bincount(state_index(spins), minlength=len(probabilities)).to(F64)
    expected = probabilities * len(spins)
    # States that are hardly ever seen count as one, as chi-square does not hold for them.
    rare = expected < 5
    counts, expected = (
        torch.cat([x[~rare], x[rare].sum(0, keepdim=True)]) for x in (counts, expected)
    )
    seen = expected > 0
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum().item()
    return chi2.sf(statistic, int(seen.sum()) - 1)


def test_the_sampler_takes_the_kernels_where_it_is_asked_to(draws):
    assert draws["backends"] == ["triton-matrix", "triton-matrix"]
    spins = draws["sampler"]
    states = all_states(5)
    fits = ((CLAMP == 0) | (states == CLAMP)).all(-1)
    assert ((spins == CLAMP) | (CLAMP == 0)).all()
    expected = torch.where(fits, law(SMALL_MODELS["complete"]()), 0.0)
    assert p_value(spins, expected / expected.sum()) > 1e-3


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter runs on the CPU")
def test_the_sampler_says_that_the_kernels_need_a_gpu():
    with pytest.raises(ValueError, match="'triton', but it runs on CUDA and the model is on cpu"):
        GibbsSampler(2, backend="triton").sample(SMALL_MODELS["ring"](), 3)


def test_ladders_and_annealing_take_the_kernels_too(draws):
    after, before = draws["ladders"]
    # At infinite temperature, half of the spins are new.
    assert after.shape == before.shape and (after != before)[:, 0].double().mean() > 0.2
    torch.testing.assert_close(*draws["weights"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SMALL_MODELS)
def test_law_is_the_oracles_and_twins_fail(draws, name, kind):
    ising = SMALL_MODELS[name]()
    parts = draws[name, kind].split(NUM_CHAINS)
    for beta, spins in zip(BETAS, parts):
        assert p_value(spins, law(ising.scaled(beta))) > 1e-3
        assert beta == 1 or p_value(spins, law(ising)) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_free_spins_follow_the_conditional_law(draws, kind):
    spins = draws["held", kind]
    assert (spins[:, 1] == 1).all() and (spins[:, 3] == -1).all()
    states = all_states(5)
    fits = (states[:, 1] == 1) & (states[:, 3] == -1)
    p = law(SMALL_MODELS["complete"]())[fits]
    assert p_value(spins[:, [0, 2, 4]], p / p.sum()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_clamped_one_by_one(draws, kind):
    spins = draws["held rows", kind]
    for rows, sign in ((spins[::2], 1), (spins[1::2], -1)):
        assert (rows[:, 1] == sign).all() and (rows[:, 3] == -sign).all()
        assert (rows[:, [0, 2, 4]].float().mean(0).abs() < 0.95).all()


@pytest.mark.parametrize("kind", KINDS)
def test_at_infinite_temperature_the_base_is_left(draws, kind):
    mean = draws["base", kind].float().mean(0)
    assert (mean + torch.linspace(-1, 1, 5).tanh()).abs().max() < 5 / NUM_CHAINS**0.5


def test_matrix_and_table_draw_the_same_spins(draws):
    assert torch.equal(draws["wide", "matrix"], draws["wide", "table"])


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides_and_the_launch_does_not(draws, kind):
    spins = draws["chip 16", kind]
    for name in ("chip 4", "again", "small blocks"):
        assert torch.equal(draws[name, kind], spins)
    assert torch.equal(draws["fewer chains", kind], spins[:13])
    assert torch.equal(draws["default", kind], spins.float())
    for name in ("other", "schedule"):
        assert not torch.equal(draws[name, kind], spins)


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter runs on the CPU")
def test_bad_arguments_are_named():
    from qahm_torch.kernels.cuda import sweep_chains

    ising = SMALL_MODELS["ring"]()
    with pytest.raises(ValueError, match="state is on cpu, but these sweeps run on a CUDA device"):
        sweep_chains(ising, start(2, 5, "cpu"), 1, seed=0)
    with pytest.raises(ValueError, match=r"state has shape \(2, 4\), but chains of 5 spins"):
        sweep_chains(ising, start(2, 4, "cpu"), 1, seed=0)
    with pytest.raises(ValueError, match="num_sweeps is 0"):
        sweep_chains(ising, start(2, 5, "cpu"), 0, seed=0)
    with pytest.raises(
        ValueError, match=r"hold has shape \(4,\), but it needs \(5,\) or \(2, 5\)"
    ):
        sweep_chains(ising, start(2, 5, "cpu"), 1, seed=0, hold=torch.ones(4))
    with pytest.raises(ValueError, match="num_lanes is 12, but a power of two"):
        sweep_chains(ising, start(2, 5, "cpu"), 1, seed=0, num_lanes=12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_kernels_compile_for_a_gpu_that_is_not_there(kind):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from qahm_torch.kernels import cuda as tk

    kernel = {"matrix": tk.matrix_kernel, "table": tk.table_kernel}[kind]
    constants = {"HELD": True, "LANES": 16, "ROWS": 16, "COLUMNS": 32, "PRECISION": "ieee"}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    floats = dict.fromkeys(("betas", "h", "base", "weights", "own"), "*fp32")
    indices = dict.fromkeys(("order", "bounds", "starts", "neighbors"), "*i32")
    types = {"state": "*i8", "hold": "*i8", "seed": "*i64", **floats, **indices}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constants)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"]


if __name__ == "__main__":
    torch.save(draw("cpu"), sys.argv[1])
