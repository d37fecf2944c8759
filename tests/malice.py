r"""Files that would run something if they could: each attempt says whether it did.

`executions` counts them, for whoever measures.
"""

import tempfile
from pathlib import Path

import torch
import yaml
from small_runs import digits, qahm, quiet_trainer, small_config, small_machine, write_config

from qahm_torch import AnnealerSampler, HelmholtzMachine
from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.training import MachineModule, load_run, load_weights


class Touch:
    r"""Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(folder, mark):
    path = folder / "evil.ckpt"
    torch.save({"state_dict": {}, "x": Touch(mark)}, path)
    return path


def popen(mark):
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(mark)]}}


def module_of(folder, mark):
    r"""Returns the path of a class whose module writes a file when it is imported."""
    name = f"evil_{folder.name.replace('-', '_').replace('.', '_')}"
    (folder / f"{name}.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nimport dimod\nclass Evil(dimod.RandomSampler): pass\n"
    )
    return f"{name}.Evil"


def told(folder, part, value):
    r"""Returns a checkpoint that is all tensors and text, whose configuration names a class."""
    config = small_config()
    inner = config["model"]["init_args"]
    if part == "device":
        sampler = {"class_path": "qahm_torch.AnnealerSampler", "init_args": {"device": value}}
        inner["machine"]["init_args"]["prior"]["init_args"]["sampler"] = sampler
    else:
        inner[part] = value
    path = folder / "named.ckpt"
    state = MachineModule(small_machine()).state_dict()
    torch.save({"state_dict": state, "qahm_config": yaml.safe_dump(config)}, path)
    return path


def resume(folder, mark):
    config = write_config(folder, small_config())
    qahm("fit", "--config", config, "--ckpt_path", str(pickled(folder, mark)))


def resume_in_python(folder, mark):
    trainer = quiet_trainer(folder)
    module = MachineModule(small_machine())
    trainer.fit(module, digits(), ckpt_path=pickled(folder, mark), weights_only=False)


def load_in_python(folder, mark):
    MachineModule.load_from_checkpoint(
        pickled(folder, mark), machine=small_machine(), weights_only=False
    )


def load_machine(folder, mark):
    HelmholtzMachine.load(pickled(folder, mark))


def tune(folder, mark):
    load_weights(MachineModule(small_machine()), pickled(folder, mark))


def device_of_a_user(folder, mark):
    ising = Ising(CouplingGraph.complete(2), torch.zeros(2), torch.zeros(1))
    AnnealerSampler(popen(mark)).sample(ising, 1)


def device_command(folder, mark):
    qahm("device", "--device", "subprocess.Popen", "--init_args", f"{{args: [touch, {mark}]}}")


def opened(path):
    return load_run(path).module.prior.sampler.chip


def device_of_a_checkpoint(folder, mark):
    opened(told(folder, "device", popen(mark)))


def device_as_text(folder, mark):
    opened(told(folder, "device", yaml.safe_dump(popen(mark), default_flow_style=True)))


def objective_of_a_checkpoint(folder, mark):
    load_run(told(folder, "objective", popen(mark)))


def import_of_a_checkpoint(folder, mark):
    load_run(told(folder, "objective", {"class_path": module_of(folder, mark)}))


def import_as_a_function(folder, mark):
    load_run(told(folder, "optimizer", module_of(folder, mark)))


def import_of_a_device(folder, mark):
    opened(told(folder, "device", {"class_path": module_of(folder, mark)}))


def yaml_tag(folder, mark):
    path = folder / "config.yaml"
    path.write_text(f"model: !!python/object/apply:os.system ['touch {mark}']\n")
    qahm("fit", "--config", str(path))
    qahm("device", "--config", str(path))


ATTEMPTS = [
    resume,
    resume_in_python,
    load_in_python,
    load_machine,
    tune,
    device_of_a_user,
    device_command,
    device_of_a_checkpoint,
    device_as_text,
    objective_of_a_checkpoint,
    import_of_a_checkpoint,
    import_as_a_function,
    import_of_a_device,
    yaml_tag,
]


def attempt(malice, folder):
    r"""Returns whether an attempt has run something, and the error that it met."""
    import sys
    import time

    mark = Path(folder) / "executed"
    error = None
    sys.path.insert(0, str(folder))
    try:
        malice(Path(folder), mark)
    except Exception as caught:
        error = caught
    finally:
        sys.path.remove(str(folder))
    time.sleep(0.2)  # for another process to come to it
    return mark.exists(), error


def executions():
    r"""Returns the number of attempts that have run something, and of all."""
    count = 0
    for malice in ATTEMPTS:
        with tempfile.TemporaryDirectory() as folder:
            count += attempt(malice, folder)[0]
    return count, len(ATTEMPTS)
