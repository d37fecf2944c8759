r"""A machine in a file is the machine that was saved."""

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from small_runs import CONFIGS, fit, small_config, small_machine
from torch import nn

import qahm_torch as qt
from qahm_torch import HelmholtzMachine
from qahm_torch.ising import Chains
from qahm_torch.nn.saving import MACHINE_KEY
from qahm_torch.training import load_run


def config_of(path):
    return yaml.safe_load(path.read_text())


MACHINES = sorted(
    path.stem
    for path in CONFIGS.glob("*.yaml")
    if config_of(path).get("model", {}).get("class_path") == "qahm_torch.training.MachineModule"
    # whose units are those of files (see test_table_data.py and test_image_machine.py)
    and path.stem not in ("table", "images")
)


def machine_of(name):
    r"""Returns the machine of a configuration, with weights away from where they start."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(HelmholtzMachine, "machine", fail_untyped=False)
    told = config_of(CONFIGS / f"{name}.yaml")["model"]["init_args"]["machine"]
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    torch.manual_seed(0)
    machine = instantiate(parser.parse_object({"machine": told})).machine
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    machine.prior.estimate_log_z(num_chains=16, num_temperatures=16)
    return machine.eval()


def states_of(machine, num=20):
    torch.manual_seed(1)
    visible = 2 * torch.rand(num, machine.generator.widths[-1]).round() - 1
    visible[:, machine.num_pixels :] = -1
    visible[:, machine.num_pixels :][:, :1] = 1  # of the first class, if there are classes
    return [visible, *(state[0] for state in machine.infer(visible, 1).states)]


def test_there_are_machines_to_test():
    assert {"mnist16", "mnist28_bits", "mnist28_causal", "digits_annealer"} <= set(MACHINES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_each_machine_of_the_configurations_comes_back(name, tmp_path):
    machine = machine_of(name)
    states = states_of(machine)
    expected = machine.log_joint(states).detach()
    file = tmp_path / "machine.pt"
    for bits, tolerance in ((32, 0.0), (16, 1e-4), (8, 1e-2)):
        machine.save(file, bits)
        again = HelmholtzMachine.load(file)
        gap = (again.log_joint(states).detach() - expected).abs().max() / expected.abs().mean()
        assert float(gap) <= tolerance
        assert (float(gap) == 0) == (bits == 32)
        # The law of the prior is not rounded, so that its log Z is that of the file.
        assert torch.equal(again.prior.log_z, machine.prior.log_z)
        assert torch.equal(again.prior.J, machine.prior.J)


def test_recognition_chains_and_samples_come_back(tmp_path):
    machine = small_machine()
    machine.prior.draw()
    machine.save(tmp_path / "machine.pt")
    again = HelmholtzMachine.load(tmp_path / "machine.pt")
    assert torch.equal(again.prior.chains.spins, machine.prior.chains.spins)
    rows = machine.generate(5)
    log_probs = [
        m.log_prob(rows, 3, generator=torch.Generator().manual_seed(0)) for m in (machine, again)
    ]
    assert torch.equal(*log_probs)
    assert again.prior.num_samples == 32 and again.prior.sampler.num_sweeps == 2
    (-again.prior(torch.ones(3, 6)).mean()).backward()


def test_what_is_loaded_is_for_use_and_leaves_random_numbers_alone(tmp_path):
    small_machine().save(tmp_path / "machine.pt")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    machine = HelmholtzMachine.load(str(tmp_path / "machine.pt"))
    assert torch.equal(torch.rand(3), expected)
    assert not machine.training


def test_double_precision_comes_back(tmp_path):
    machine = small_machine().double()
    machine.save(tmp_path / "machine.pt")
    again = HelmholtzMachine.load(tmp_path / "machine.pt")
    states = states_of(machine)
    assert again.log_joint(states).dtype == torch.float64
    assert torch.equal(again.log_joint(states), machine.log_joint(states))


def test_a_subclass_loads_its_own_machines_only(tmp_path):
    small_machine().save(tmp_path / "machine.pt")
    with pytest.raises(TypeError, match="holds a HelmholtzMachine, but not a DiscreteVAE"):
        qt.DiscreteVAE.load(tmp_path / "machine.pt")


# Files that are refused


def test_a_machine_that_was_changed_after_it_was_built_is_refused_and_leaves_no_file(tmp_path):
    file = tmp_path / "machine.pt"
    machine = HelmholtzMachine(
        qt.BeliefNetwork([6, 3], layers=[qt.NormalizedMLP(6, [5], 3)]),
        qt.BeliefNetwork([3, 6]),
        qt.QuantumPriorLayer(3),
    )
    machine.save(file)
    before = file.read_bytes()
    machine.recognition.layers[0][2] = nn.ELU()
    with pytest.raises(ValueError, match=r"recognition.layers.0.2 would be ReLU\(\)"):
        machine.save(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_a_part_that_cannot_be_built_from_a_file_is_refused(tmp_path):
    class Own(nn.Linear):
        pass

    networks = qt.BeliefNetwork([6, 3], layers=[Own(6, 3)]), qt.BeliefNetwork([3, 6])
    machine = HelmholtzMachine(*networks, qt.QuantumPriorLayer(3))
    with pytest.raises(ValueError, match="Own, but only modules of qahm_torch and torch.nn"):
        machine.save(tmp_path / "machine.pt")
    assert list(tmp_path.iterdir()) == []


class Touch:
    r"""Would write a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def content(tmp_path):
    small_machine().save(tmp_path / "machine.pt")
    return torch.load(tmp_path / "machine.pt", weights_only=True)


def refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError) as caught:
        HelmholtzMachine.load(tmp_path / "other.pt")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_code_in_a_file_is_not_run(content, tmp_path):
    content["state_dict"]["x"] = Touch(str(tmp_path / "touched"))
    assert "cannot be read as a machine" in refused(tmp_path, content)
    assert not (tmp_path / "touched").exists()


def test_classes_of_others_are_refused(content, tmp_path):
    told = content[MACHINE_KEY]["construction"]
    told["init_args"]["recognition"]["class_path"] = "subprocess.Popen"
    assert "the class is subprocess.Popen, but only modules" in refused(tmp_path, content)
    content[MACHINE_KEY]["construction"] = {"class_path": "torch.nn.ReLU", "init_args": {}}
    assert "holds a ReLU, but no machine" in refused(tmp_path, content)


def test_states_and_formats_that_do_not_fit_are_refused(content, tmp_path):
    weight = content["state_dict"].pop("recognition.layers.0.weight")
    assert "is of another machine: " in refused(tmp_path, content)
    content["state_dict"]["recognition.layers.0.weight"] = weight
    content[MACHINE_KEY]["format"] = 99
    assert "is of format 99, but this version reads format 1" in refused(tmp_path, content)
    assert "does not say how its machine is built" in refused(tmp_path, {"state_dict": {}})
    assert "does not say how its machine is built" in refused(tmp_path, [1])


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    small_machine().save(tmp_path / "machine.pt")
    whole = (tmp_path / "machine.pt").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "machine.pt").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot be read as a machine"):
            HelmholtzMachine.load(tmp_path / "machine.pt")


def test_a_source_that_is_nothing_is_told_with_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="source is mnist61, but .* mnist16"):
        HelmholtzMachine.load("mnist61")
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        HelmholtzMachine.load(tmp_path)


# Checkpoints


def test_a_run_and_its_checkpoint_are_loaded_by_their_paths(tmp_path):
    folder = fit(tmp_path, small_config())
    run = load_run(folder)
    states = states_of(run.module.machine)
    for source in (folder, str(folder), run.checkpoint):
        machine = HelmholtzMachine.load(source)
        assert torch.equal(machine.log_joint(states), run.module.machine.log_joint(states))
        assert torch.equal(machine.prior.chains.spins, run.module.machine.prior.chains.spins)


def test_a_checkpoint_that_does_not_tell_names_the_command(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match="`qahm export` makes a file of an older run"):
        HelmholtzMachine.load(tmp_path / "old.ckpt")


def test_chains_of_more_than_one_process_are_those_of_the_first(tmp_path):
    checkpoint = {
        MACHINE_KEY: {"format": 1, "construction": None},
        "prior_chains": [Chains(torch.ones(4, 6)).state_dict(), None],
    }
    machine = small_machine()
    machine.save(tmp_path / "machine.pt")
    content = torch.load(tmp_path / "machine.pt", weights_only=True)
    checkpoint[MACHINE_KEY] = content[MACHINE_KEY]
    checkpoint["state_dict"] = {f"machine.{k}": v for k, v in content["state_dict"].items()}
    torch.save(checkpoint, tmp_path / "two.ckpt")
    again = HelmholtzMachine.load(tmp_path / "two.ckpt")
    assert torch.equal(again.prior.chains.spins, torch.ones(4, 6))
