"""Tuning and Solver 4 on the command line."""

import json
import shlex
from dataclasses import replace

import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.paper import solver4
from daskmgrit.problems import xor
from tests.support.cli import CliRunner


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


# -- command line ------------------------------------------------------------------------------------------------------


def test_tune_command_and_what_it_recommends():
    out = call("tune", "xor", "--steps", "400", "--prefix", "100", "--json")
    assert out.exit_code == 0
    answer = json.loads(out.stdout)
    assert answer["estimate"]["safety"] == 0.8
    assert answer["estimate"]["max_rate"] == pytest.approx(1.6 / answer["estimate"]["eigenvalue"])
    assert "safety factor" in out.stderr
    speedups = [trial["speedup"] for trial in answer["trials"]]
    assert speedups == sorted(speedups, reverse=True)
    solved = call(*shlex.split(answer["command"])[1:], "--json")
    assert solved.exit_code == 0
    assert json.loads(solved.stdout)["converged"]


def test_tune_command_for_a_person():
    out = call("tune", "xor", "--steps", "200", "--prefix", "64", "--max-learning-rate", "8")
    assert out.exit_code == 0
    assert "best first" in out.stdout
    assert out.stdout.splitlines()[-1].startswith("daskmgrit solve xor --steps 200 --solver 1")
    assert call("tune", "xor", "--steps", "100", "--prefix", "400").exit_code == 2


def test_solver_4_on_the_command_line():
    out = call("solve", "xor", "--steps", "400", "--solver", "4", "--json", "--check")
    assert out.exit_code == 0
    answer = json.loads(out.stdout)
    assert (answer["solver"], answer["iterations"] <= 10, answer["max_error"] < 1e-6) == ("4", True, True)
    assert answer["stages"] == [1, 1, 1, 2, 2, 3, 4]
    assert "stages" in out.stderr
    wider = json.loads(call("solve", "xor", "--steps", "400", "--solver", "4", "--coarsening", "4", "--json").stdout)
    assert wider["levels"] == [400, 100, 25, 6]
    assert wider["iterations"] <= 11
    other = call("solve", "xor", "--steps", "400", "--solver", "1", "--coarse", "capped,capped,substeps", "--json")
    assert json.loads(other.stdout)["stages"] == [1, 1, 1, 1, 2, 4, 8]


# -- the tables --------------------------------------------------------------------------------------------------------


def test_paper_compares_solver_4(tmp_path, monkeypatch):
    group = solver4.GROUPS[0]()
    chosen = [variant for variant in group.variants if variant.label in ("Solver 1, V", "**Solver 4**")]
    monkeypatch.setattr(solver4, "GROUPS", (lambda: replace(group, columns=(100, 200), variants=chosen),))
    out = call("paper", "--solver4", "--max-steps", "200", "--out", str(tmp_path))
    assert out.exit_code == 0
    text = (tmp_path / "solver4.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert not (tmp_path / "paper.md").exists()
    problem = xor()
    result = dm.MGRIT(problem.propagator("4"), 200, **problem.hierarchy("4")).solve(problem.w0, "constant")
    row = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert row[1:5] == [
        "200",
        str(result.iterations),
        f"{result.convergence_factor:.2f}",
        str(result.critical_path),
    ]
    assert row[5] == f"{200 / result.critical_path:.2f}"
    assert int(row[6]) <= result.iterations
    # What stands around the tables stays; what was solved is not solved again.
    (tmp_path / "solver4.md").write_text(text.replace("# Solver 4", "# My own words about Solver 4") + "\nand after\n")
    monkeypatch.setattr(solver4, "measure", lambda *_, **__: pytest.fail("solved again"))
    assert call("paper", "--solver4", "--max-steps", "200", "--out", str(tmp_path)).exit_code == 0
    again = (tmp_path / "solver4.md").read_text()
    assert again == text.replace("# Solver 4", "# My own words about Solver 4") + "\nand after\n"
