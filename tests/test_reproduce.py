import json
from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure
from small_runs import qahm

from qahm_torch.systems import System, reproduce


@dataclass(frozen=True)
class Squares(System):
    r"""Squares numbers."""

    title = "Squares"
    limit: int = 3
    pair: tuple = (1, 2)

    @classmethod
    def small(cls):
        return cls(limit=1)

    def cases(self):
        return [{"arm": "square", "number": k} for k in range(self.limit)]

    def run_case(self, arm, number):
        calls.append(number)
        return {"value": number**2}

    def summarize(self, results):
        return {"total": sum(r["value"] for r in results)}

    def headline(self, report):
        return f"{report['total']} in all"

    def _plot(self, report):
        return Figure()


calls = []


@pytest.fixture(autouse=True)
def forget():
    calls.clear()


def test_the_report_is_that_of_its_cases(tmp_path):
    report = reproduce(Squares(), tmp_path)
    assert (report["title"], report["headline"], report["total"]) == ("Squares", "5 in all", 5)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(Squares, "run_case", stopped_at(2))
        with pytest.raises(RuntimeError):
            reproduce(Squares(), tmp_path)
    assert reproduce(Squares(), tmp_path)["total"] == 5
    assert calls == [0, 1, 2]


def stopped_at(number):
    whole = Squares.run_case

    def run_case(self, **case):
        if case["number"] == number:
            raise RuntimeError("out of luck")
        return whole(self, **case)

    return run_case


def test_results_of_other_settings_are_kept(tmp_path):
    reproduce(Squares(), tmp_path)
    with pytest.raises(ValueError, match="limit is 4, but .* holds results of 3"):
        reproduce(Squares(limit=4), tmp_path)


def test_the_command_tells_number_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squares.yaml").write_text(
        "name: squares\nsystem: {class_path: test_reproduce.Squares, init_args: {limit: 2}}\n"
    )
    assert qahm("reproduce", "--config", "squares.yaml") == 0
    assert capsys.readouterr().out.splitlines()[0] == "1 in all"
    assert (tmp_path / "runs" / "squares" / "report.json").exists()


def test_a_command_told_wrong_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squares.yaml").write_text("name: a\nsystem: {class_path: no.such.Thing}\n")
    assert qahm("reproduce", "--config", "nosuch") == 2
    assert "config is nosuch, but" in capsys.readouterr().err
    for told in ([], ["--config", "squares.yaml"]):
        assert qahm("reproduce", *told) == 2
        assert capsys.readouterr().err.startswith("qahm: error: ")
