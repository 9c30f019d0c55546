"""Tuning, Solver 4 on the command line, and its tables."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.coarse import from_fine, stabilise
from daskmgrit.paper import solver4
from daskmgrit.paper.run import Measurements
from daskmgrit.problems import adder, digits, xor
from daskmgrit.tune import Settings, critical_path, default_grid, predicted_path, rated, tune


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


def descend(weights, index, level, rate):
    return weights - rate * np.array([0.01, 1.0]) * (weights + 0.1 * np.sin(weights))


def test_critical_path_without_solving_is_that_of_the_solve():
    problem = xor()
    for options in ({}, {"coarsening": 4}, {"relaxation": ["FCF", "F"], "min_coarse": 4}, {"cycle": "F"}):
        phi = problem.propagator("4", factor=options.get("coarsening", 2))
        solver = dm.MGRIT(phi, 400, **options)
        result = solver.solve(problem.w0, "constant")
        wanted = result.critical_path
        assert critical_path(400, solver.stages, result.iterations, **options) == wanted
        assert predicted_path(400, solver.stages, result.iterations, **options) == wanted


def test_tune_chooses_the_best_of_its_table():
    seen = []
    grid = {"max_stages": (None, 2), "coarsening": [(2,), (4,)], "relaxation": [("FCF",), ("FCF", "F")]}
    report = tune(rated(descend, 0.5), np.ones(2), 4096, Settings(1.8), grid, prefix=256, on_trial=seen.append)
    assert sorted(map(id, seen)) == sorted(map(id, report.trials))
    assert len({trial.settings for trial in seen}) == len(seen) == 4
    speedups = [trial.speedup for trial in report.trials]
    assert report.best.speedup == max(speedups)
    assert speedups == sorted(speedups, reverse=True)
    assert report.prefixes == (64, 256)
    text = str(report)
    assert len(text.splitlines()) == 2 + len(seen)
    assert "N = 4096" in text
    # Each lever starts from the best of the one before.
    assert seen[0].settings == Settings(1.8)
    best = max(seen[:2], key=lambda trial: trial.speedup).settings
    assert seen[2].settings == replace(best, coarsening=(4,))


def test_prediction_is_that_of_the_solve_where_the_prefix_is_all():
    report = tune(rated(descend, 0.5), np.ones(2), 512, Settings(1.8), {}, prefix=512)
    phi = rated(descend, 0.5)(Settings(1.8))
    result = dm.MGRIT(phi, 512).solve(np.ones(2), "constant")
    assert report.best.iterations[1] == result.iterations
    assert report.best.critical_path == result.critical_path
    assert report.best.speedup == 512 / result.critical_path
    assert report.best.work == pytest.approx(sum(result.phi_evaluations) / 512)


def test_a_cut_that_the_prefix_does_not_show_is_charged():
    free, cut = (
        tune(rated(descend, 0.5), np.ones(2), 1 << 16, Settings(1.8, max_stages=stages), {}, prefix=256).best
        for stages in (None, 2)
    )
    assert cut.iterations == free.iterations
    assert cut.cycles > 3 * free.cycles


def test_settings_that_fail_are_listed():
    # Far beyond the stable rate, coarse steps blow up.
    report = tune(
        rated(descend, 0.5), np.ones(2), 1024, Settings(1.8), {"max_rate": (1.8, 60.0)}, prefix=256, maxiter=15
    )
    assert report.best.settings.max_rate == 1.8
    assert report.trials[-1].reason in ("maxiter", "diverged")
    assert report.trials[-1].speedup == 0
    assert report.trials[-1].reason in str(report)
    with pytest.raises(ValueError, match="none of 1 settings converged within maxiter=15 cycles"):
        tune(rated(descend, 0.5), np.ones(2), 1024, Settings(60.0), {}, prefix=256, maxiter=15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prefix": 2000}, "prefix=2000 is longer than steps=1000"),
        ({"prefix": 3}, "prefix=3 is not an integer of at least 16"),
        ({"sweeps": 0}, "sweeps=0"),
        ({"grid": {"m": (2,)}}, "grid has 'm': give of max_rate, coarsening"),
    ],
)
def test_bad_tune(arguments, words):
    with pytest.raises(ValueError, match=words):
        tune(rated(descend, 0.5), np.ones(2), 1000, Settings(1.8), **arguments)


def test_grid_of_a_problem_with_windows():
    assert "window" in default_grid(Settings(1.0, window=128))
    assert {"max_rate", "max_stages", "coarsening", "relaxation", "min_coarse"} == set(default_grid(Settings(1.0)))


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["xor", "--window", "8"], "window=8 has no effect"),
        (["xor", "--coarse", "euler"], "coarse='euler' is not known"),
        (["adder", "--solver", "2", "--window", "8"], "window=8 has no effect with data='step'"),
        (["adder", "--solver", "2", "--data", "all"], "'all' is not one of"),
    ],
)
def test_bad_usage(arguments, words):
    out = call("solve", *arguments, "--steps", "100")
    assert out.exit_code == 2
    assert words in out.stderr


@pytest.mark.parametrize("make", [xor, adder, digits])
def test_settings_of_the_problems(make):
    problem = make()
    tuned = problem.tuned
    assert problem.guess("4") == tuned.initial_guess
    options = problem.hierarchy("4")
    assert options["relaxation"] == list(tuned.relaxation)
    # What is tuned together is given up together.
    assert problem.hierarchy("4", coarsening=4, relaxation=None) == {"coarsening": 4}
    assert problem.hierarchy("2") == {}
    assert problem.propagator("4").coarse.max_rate == tuned.max_learning_rate
    assert problem.propagator("4").coarse.max_stages == tuned.max_stages


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


def test_loss_that_agrees():
    assert solver4._agreed([1.0, 0.5, 0.50001, 0.5], 0.5) == 2
    assert solver4._agreed([0.5, 0.4, 0.5], 0.5) == 3
    assert solver4._agreed([0.5, 0.4], 0.5) is None
    assert solver4._agreed([], 0.5) is None
    assert solver4._agreed([np.inf], 0.5) is None


def test_tables_of_the_document_are_those_of_the_record(request):
    folder = request.config.rootpath / "docs"
    store = Measurements(folder / "solver4.json")
    text = (folder / "solver4.md").read_text()
    assert solver4.tables(store) in text
    assert solver4.splice(text, solver4.tables(store)) == text
    # The record is of the settings as they are now.
    for make in solver4.GROUPS:
        group = make()
        assert any(store.get(variant, group.columns[0]) for variant in group.variants if variant.solver == "4")


def test_own_loops_follow_what_is_tried():
    data = np.random.default_rng(0).standard_normal((64, 3))

    def body(weights, index, level):
        rows = data[index % 64]
        return weights - 0.02 * rows * (rows * (weights - 1)).sum(axis=1, keepdims=True)

    grid = {"coarsening": ((4,),), "window": (1, 16)}
    report = tune(rated(from_fine(body, window=8), 1), np.zeros(3), 256, Settings(8.0), grid, prefix=64)
    for trial in report.trials:
        m, window = trial.settings.coarsening[0], trial.settings.window or 8
        phi = stabilise(from_fine(body, m, window), 1, 8.0, m)
        assert dm.MGRIT(phi, 64, coarsening=m).solve(np.zeros(3), "constant").iterations == trial.iterations[1]
    with pytest.raises(ValueError, match=r"window=4: .* has no method tried"):
        tune(rated(lambda w, i, level, a: w * (1 - a), 0.1), np.ones(3), 256, Settings(1.0, window=4), {})


def test_settings_that_stay(tmp_path):
    problem = adder(examples=4)
    own = problem.hierarchy("4")
    assert problem.hierarchy("4", coarsening=2, max_levels=9) == own | {"coarsening": 2, "max_levels": 9}
    assert problem.hierarchy("4", coarsening=4) == {"coarsening": 4}
    out = CliRunner().invoke(main, ["solve", "xor", "--solver", "1", "--max-stages", "3"])
    assert out.exit_code == 2
    assert "max_stages=3 has no effect where coarse steps are capped" in out.stderr
    for options, code, words in (
        (["--table", "8"], 2, "--solver4 is of that table only"),
        (["--max-steps", "10"], 0, "its smallest N is above --max-steps 10"),
        (["--no-solve"], 0, "nothing of it was solved"),
    ):
        out = CliRunner().invoke(main, ["paper", "--out", str(tmp_path), "--solver4", *options])
        assert (out.exit_code, words in out.stderr) == (code, True), out.stderr
