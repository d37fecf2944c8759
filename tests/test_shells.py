r"""What a tab offers in a shell: all that there is, at once, and nothing else."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import CONFIGS, ENVIRONMENT, qahm

from qahm_torch.cli.commands import COMMANDS
from qahm_torch.cli.shells import SCRIPTS
from qahm_torch.cli.tab import words

TRAININGS = ("fit", "validate", "test")
OTHERS = [name for name in COMMANDS if name not in TRAININGS]
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w.]*\+?")


def offered(*typed):
    return [word for word, _ in words(typed)]


def options_in(told):
    r"""Returns the options that a help lists, which begin its lines."""
    lines = (line for line in told.splitlines() if re.match(r"  -", line))
    # What they are for is two spaces further on. A name with a plus makes a list longer.
    found = {name for line in lines for name in OPTION.findall(re.split(r"(?<=\S)  ", line)[0])}
    return {name for name in found if not name.endswith("+")}


def help_of(*typed, capsys):
    with contextlib.suppress(SystemExit):
        qahm(*typed, "--help")
    return options_in(capsys.readouterr().out)


# Options


@pytest.mark.parametrize("command", OTHERS)
def test_all_options_of_a_command_are_offered(command, capsys):
    listed = help_of(command, capsys=capsys)
    assert "--help" in listed
    assert set(offered(command, "-")) == listed


@pytest.mark.parametrize("command", TRAININGS)
def test_all_options_of_a_training_are_offered(command, capsys):
    listed = help_of(command, capsys=capsys)
    settings = {name for name in listed if name.endswith(".NAME")}
    assert len(settings) == 3 and "--print_config" in listed
    assert listed - settings - set(offered(command, "--")) == set()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["digits", "mnist16", "table", "bars_and_stripes"])
def test_all_settings_of_a_configuration_are_offered(config, capsys):
    listed = help_of("fit", "--config", config, capsys=capsys)
    # Of a class its name is a setting, and the help of it is no training.
    listed = {name for name in listed if "." in name and not name.endswith(".help")}
    found = {name for name in offered("fit", "--config", config, "--") if "." in name}
    assert found == listed and len(found) > 70
    assert {"--trainer.max_epochs", "--model.optimizer.lr", "--data.batch_size"} <= found


def test_settings_of_several_configurations_are_offered():
    one, other = "--model.machine.prior.h_range", "--data.batch_size"
    found = offered("fit", "--config", "belief_net", "--config=belief_net_2", "--")
    assert other in found and one not in found
    assert "--model.prior_lr" in offered("fit", "-c", "digits", "--model.pri")
    assert offered("fit", "--config", "no_such", "--model.") == []


def test_each_word_is_told_about(capsys):
    told = dict(words(["evaluate", "--"]))
    assert told["--num_chains"] == "Chains per direction of the log Z estimate"
    assert all(told.values()) and max(map(len, told.values())) <= 60
    assert dict(words([""])) == {name: command.about for name, command in COMMANDS.items()}


# Values


def test_commands_are_offered():
    assert offered("") == list(COMMANDS)
    assert offered("comp") == ["complete", "compare", "completion"]
    assert offered("--") == ["--help", "--version"]
    assert offered("nothing", "") == offered("zz") == []


def test_each_shipped_configuration_is_offered_where_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = {file.stem: yaml.safe_load(file.read_text()) for file in CONFIGS.glob("*.yaml")}
    models = sorted(name for name, config in configs.items() if "model" in config)
    systems = sorted(name for name, config in configs.items() if "system" in config)
    assert models and systems and len(models) + len(systems) == len(configs)
    for option in (["--config"], ["-c"], ["--config", "digits", "--config"]):
        assert offered("fit", *option, "") == models
    assert offered("device", "--config", "") == models
    assert offered("reproduce", "--config", "") == systems


def test_configurations_that_lie_here_are_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("name: mine\nmodel:\n  class_path: a.B\n")
    Path("misty.yaml").write_text("system: x\n")
    Path("mixed.yaml").write_bytes(b"\xff\xfe")
    assert offered("fit", "--config", "mi") == ["mine.yaml"]
    assert offered("reproduce", "--config", "mi") == ["misty.yaml"]


def test_a_sign_of_equality_stands_between():
    names = offered("fit", "--config", "")
    assert offered("fit", "--config=") == [f"--config={name}" for name in names]
    assert offered("fit", "--config=dig") == ["--config=digits", "--config=digits_annealer"]
    # In bash it is a word of its own.
    assert offered("fit", "--config", "=") == names
    assert offered("fit", "--config", "=", "dig") == ["digits", "digits_annealer"]


def make_run(folder, checkpoints=("last",)):
    (folder / "checkpoints").mkdir(parents=True)
    for name in checkpoints:
        (folder / "checkpoints" / f"{name}.ckpt").touch()


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/a/version_0"), ("best", "last"))
    make_run(Path("runs/a/version_1"))
    make_run(Path("runs/deep/b c/version_0"))
    Path("runs/seeds").mkdir()  # a report of a system, and no run
    Path("runs/seeds/report.json").touch()
    return ["runs/a", "runs/deep/b c"], [
        "runs/a/version_0",
        "runs/a/version_1",
        "runs/deep/b c/version_0",
    ]


@pytest.mark.parametrize(
    "typed",
    [
        ("evaluate",),
        ("report", "--num", "3"),
        ("generate", "--trust"),
        ("export", "--name=x"),
        ("compare", "runs/a"),
        ("fit", "--config", "digits", "--finetune"),
    ],
    ids=" ".join,
)
def test_runs_are_offered(typed, runs):
    names, versions = runs
    assert offered(*typed, "") == offered(*typed, "ru") == names + versions
    assert offered(*typed, "runs/deep/b c/") == ["runs/deep/b c/version_0"]
    assert offered(*typed, "runs/a/version_0/c") == [
        "runs/a/version_0/checkpoints/best.ckpt",
        "runs/a/version_0/checkpoints/last.ckpt",
    ]


def test_checkpoints_are_offered_to_what_takes_no_folder(runs):
    found = offered("fit", "--ckpt_path", "")
    assert len(found) == 4 and all(word.endswith(".ckpt") for word in found)


def test_a_run_that_was_trained_is_offered(fitted, monkeypatch):
    monkeypatch.chdir(fitted.parents[2])
    here = fitted.relative_to(Path.cwd())
    assert {str(here), str(here.parent)} <= set(offered("evaluate", ""))


def test_where_there_are_no_runs_nothing_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert offered("evaluate", "") == offered("compare", "a", "") == []


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        (("report", "x", "--format", ""), ["png", "pdf", "svg"]),
        (("report", "x", "--format=p"), ["--format=png", "--format=pdf"]),
        (("classify", "x", "--rule", "r"), ["read_out"]),
        (("export", "x", "--bits", ""), ["8", "16", "32"]),
        (("device", "--device", ""), ["simulated", "qpu"]),
        (("fit", "--finetune_partial", "t"), ["true"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("evaluate", "x", "--num_test", ""), []),  # a number, of which nothing is known
        (("evaluate", "x", "--output", ""), []),  # a file, which the shell completes
        (("fit", "--model.unknown", ""), []),
    ],
    ids=lambda value: " ".join(value),
)
def test_values_are_offered(typed, values):
    assert offered(*typed) == values


def test_after_the_last_argument_options_are_offered():
    assert "--json" in offered("compare", "a", "b", "")
    assert "--json" in offered("device", "")


# Speed


def test_a_tab_imports_no_torch(tmp_path):
    lines = [[command, "--"] for command in COMMANDS]
    lines += [["fit", "--config", "digits", "--"], ["fit", "--config", ""], ["evaluate", ""]]
    code = (
        "import sys\nfrom qahm_torch.cli import main\n"
        f"for line in {lines!r}:\n  assert main(['completion', '--words', '--', *line]) == 0\n"
        "print(sorted({'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
        cwd=tmp_path,
    )
    assert "--model.prior_lr\t" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"


# In shells


@pytest.fixture
def shell(tmp_path, monkeypatch):
    r"""Runs a script in a shell that finds this package as `qahm`."""
    make_run(tmp_path / "runs" / "my run" / "version_0")
    make_run(tmp_path / "runs" / "digits" / "version_0")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "qahm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qahm_torch.cli "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{ENVIRONMENT['PATH']}"

    def run(name, script, *options):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name} on this machine")
        answer = subprocess.run(
            [name, *options, "-c", script],
            capture_output=True,
            text=True,
            env={**ENVIRONMENT, "PATH": path, "HOME": str(tmp_path)},
            cwd=tmp_path,
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout.splitlines()

    return run


IN_SHELLS = [
    (["qahm", "ev"], ["evaluate"]),
    (["qahm", "report", "x", "--format", ""], ["png", "pdf", "svg"]),
    (["qahm", "fit", "--config", "digits_"], ["digits_annealer"]),
    (["qahm", "fit", "--trainer.max_e"], ["--trainer.max_epochs"]),
    (["qahm", "evaluate", "runs/m"], ["runs/my run", "runs/my run/version_0"]),
    (["qahm", "evaluate", "runs/digits", "--num_p"], ["--num_particles"]),
    (["qahm", "evaluate", "nothing/"], []),
]


def quoted(words):
    return " ".join(f"'{word}'" for word in words)


@pytest.mark.parametrize(("typed", "found"), IN_SHELLS, ids=lambda value: " ".join(value))
def test_bash_completes(typed, found, shell):
    script = (
        f'eval "$(qahm completion bash)"\nCOMP_WORDS=({quoted(typed)}); '
        f"COMP_CWORD={len(typed) - 1}\n_qahm\n"
        'if (( ${#COMPREPLY[@]} )); then printf "%s\\n" "${COMPREPLY[@]}"; fi\ncomplete -p qahm'
    )
    *offered, spec = shell("bash", script, "--norc", "--noprofile")
    # What bash is given it takes as if typed.
    assert offered == [word.replace(" ", "\\ ") for word in found]
    assert spec.endswith("-F _qahm qahm") and "-o default" in spec


def test_bash_has_a_sign_of_equality_as_a_word(shell):
    script = 'source <(qahm completion bash)\nCOMP_WORDS=(qahm fit --config "=" {})\n'
    script += 'COMP_CWORD={}\n_qahm\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    assert shell("bash", script.format("digits_", 4)) == ["digits_annealer"]
    assert "digits" in shell("bash", script.format("", 3))


@pytest.mark.parametrize(("typed", "found"), IN_SHELLS, ids=lambda value: " ".join(value))
def test_zsh_completes(typed, found, shell):
    # Stands for the parts of zsh that show what is offered.
    script = (
        "compdef() {}; _describe() { print -rl -- ${(P)2} }; _files() { print files }\n"
        f'eval "$(qahm completion zsh)"\nwords=({quoted(typed)}); CURRENT={len(typed)}; _qahm'
    )
    lines = shell("zsh", script, "-f")
    assert [line.partition(":")[0] for line in lines] == (found or ["files"])
    if found == ["evaluate"]:
        assert lines == [f"evaluate:{COMMANDS['evaluate'].about}"]


@pytest.mark.parametrize(("typed", "found"), IN_SHELLS, ids=lambda value: " ".join(value))
def test_fish_completes(typed, found, shell):
    line = " ".join(word.replace(" ", "\\ ") for word in typed)
    script = f"qahm completion fish | source\ncomplete -C '{line}'"
    lines = shell("fish", script, "--no-config")
    assert sorted(line.partition("\t")[0] for line in lines) == sorted(found)


def test_each_shell_that_is_offered_has_a_script(capsys):
    for name, script in SCRIPTS.items():
        assert qahm("completion", name) == 0
        assert capsys.readouterr().out == script
