"""Problems of one's own on the command line: what they are asked for, and what is refused."""

import json
import runpy
import shlex
import sys

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.cli.problem import completed
from daskmgrit.recurrence.trial import try_phi
from tests.support.cli import CliRunner

SOURCE = """
import numpy as np

from daskmgrit.problems import OwnProblem

print("imported")


def phi(weights, index, level):
    return weights - min(0.05 * 2**level, 0.5) * np.sin(weights - np.linspace(0, 1, 4))


def fails(weights, index, level):
    if (index > 90).any():
        raise KeyError("day 91")
    return phi(weights, index, level)


def leaves(weights, index, level):
    if (index > 90).any():
        raise SystemExit(CODE)
    return phi(weights, index, level)


def for_one(w, i, level):
    return w - 0.1 * np.eye(4) @ w


def metrics_fail(final):
    return {"x": 1 / 0}


w0 = np.full(4, 2.0)
problem = OwnProblem(phi, w0, 100, "sines", loss=lambda w: (w**2).sum(), metrics=lambda w: {"mean_value": w.mean()})
swept = OwnProblem(phi, w0, 100, "swept", method="newton", jacobian="identity", window=4)
dull = OwnProblem(phi, w0, 100, "dull", metrics=metrics_fail)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE)
    np.save(tmp_path / "w0.npy", np.full(4, 2.0))
    np.save(tmp_path / "short.npy", np.ones(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def solve(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


def solved(*arguments):
    run = solve(*arguments, "--json")
    assert run.exit_code == 0, run.stderr
    return json.loads(run.stdout)


def test_an_own_problem_is_solved(folder):
    answer = solved("mine.py:problem", "--check")
    assert (answer["problem"], answer["method"], answer["solver"], answer["steps"]) == ("sines", "MGRIT", None, 100)
    assert answer["max_error"] < 1e-7
    assert set(answer["metrics"]) == {"loss", "mean_value"}
    run = solve("mine.py:problem", "--steps", "60", "--coarsening", "4")
    assert "mean value " in run.stdout
    assert "converged" in run.stdout
    assert "--coarsening 4: the Phi of sines does not tell the coarsening" in run.stderr
    assert "does not tell" not in solve("mine.py:problem", "--steps", "60", "--coarsening", "2").stderr


def test_a_phi_is_solved_from_a_file_of_weights(folder):
    own, phi = solved("mine.py:problem"), solved("mine.py:phi", "--w0", "w0.npy", "--steps", "100")
    assert phi["residuals"] == own["residuals"]
    assert phi["problem"] == "phi"


def test_method_and_its_settings_are_the_problems_unless_others_are_given(folder):
    answer = solved("mine.py:swept")
    assert (answer["method"], answer["jacobian"], answer["window"]) == ("parallel Newton", "identity", 4)
    answer = solved("mine.py:swept", "--jacobian", "full", "--slots", "auto")
    assert (answer["jacobian"], answer["window"]) == ("full", "auto")
    assert solved("mine.py:swept", "--method", "mgrit")["method"] == "MGRIT"
    assert solved("mine.py:problem", "--method", "newton")["method"] == "parallel Newton"


def test_metrics_that_fail_do_not_lose_the_result(folder):
    run = solve("mine.py:dull")
    assert run.exit_code == 0
    assert "loss or metrics of dull raised ZeroDivisionError" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["gone.py:phi"], 2, "does not exist"),
        (["mine.py:phi", "--steps", "9"], 2, "give --w0"),
        (["mine.py:phi", "--w0", "w0.npy"], 2, "give --steps N"),
        (["mine.py:phi", "--steps", "9", "--w0", "short.npy"], 2, "states of 3 weights"),
        (["mine.py:problem", "--w0", "short.npy"], 2, "states of 3 weights"),
        (["mine.py:problem", "--w0", "short.npy"], 2, "the Phi of mine.py:problem raised ValueError: operands"),
        (["mine.py:for_one", "--w0", "w0.npy", "--steps", "50"], 3, "daskmgrit.vectorize"),
        (["mine.py:fails", "--w0", "w0.npy", "--steps", "99"], 3, "raised KeyError: 'day 91' (/"),
        (["mine.py:swept", "--cycle", "F"], 2, "--cycle is for --method mgrit"),
        (["mine.py:problem", "--slots", "4"], 2, "--slots is for --method newton"),
        (["xor", "--w0", "w0.npy"], 2, "--w0 w0.npy is for a Phi of your own"),
        *(
            (["mine.py:problem", *option.split()], 2, f"{option.split()[0]} is for built-in problems")
            for option in (
                "--solver 2",
                "--optimizer adam",
                "--learning-rate 1",
                "--max-learning-rate 1",
                "--coarse capped",
                "--data step",
                "--max-stages 2",
                "--window 8",
                "--batch 8",
                "--seed 1",
                "--dtype float32",
            )
        ),
    ],
)
def test_what_is_wrong_ends_before_anything_is_started(folder, arguments, status, words):
    run = solve(*arguments, "--workers", "1") if status == 2 else solve(*arguments)
    assert run.exit_code == status, run.stderr
    assert words in run.stderr
    assert "worker processes" not in run.stderr


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("code", [0, 3, None, "'bye'"])
def test_a_phi_that_leaves_the_program(folder, scheduler, code):
    path = folder / "mine.py"
    path.write_text(path.read_text().replace("SystemExit(CODE)", f"SystemExit({code})"))
    with dask.config.set(scheduler=scheduler):
        run = solve("mine.py:leaves", "--w0", "w0.npy", "--steps", "100", "--initial-guess", "constant")
    assert run.exit_code == 3
    assert "called sys.exit" in run.stderr
    assert "return the new weights" in run.stderr


def test_a_window_that_was_asked_for_once_is_kept(folder):
    how = ("mine.py:swept", "--checkpoint", "saved")
    assert solve(*how, "--slots", "7").exit_code == 0
    assert solve(*how, "--resume").exit_code == 0


def test_a_problem_of_an_installed_kind_has_its_options(folder):
    (folder / "nets.py").write_text("from daskmgrit.problems import xor\n\n\ndef seven():\n    return xor(seed=7)\n")
    assert solved("nets.py:seven", "--steps", "60", "--solver", "1")["solver"] == "1"
    run = solve("nets.py:seven", "--seed", "3")
    assert run.exit_code == 2
    assert "--seed is for built-in problems" in run.stderr


@pytest.mark.parametrize(("saved", "asked"), [("4", "8"), ("4", "auto"), ("auto", "4")])
def test_resume_keeps_the_window_and_says_so(folder, saved, asked):
    how = ("mine.py:swept", "--checkpoint", "saved", "--checkpoint-every", "5")
    assert solve(*how, "--slots", saved).exit_code == 0
    run = solve(*how, "--slots", asked, "--resume")
    assert run.exit_code == 2
    assert f"was saved with --slots {saved}" in run.stderr
    assert solve(*how, "--slots", saved, "--resume").exit_code == 0


def test_checkpoints_of_newton_are_by_time_unless_sweeps_are_given(folder):
    for options, every, seconds in (((), None, 60.0), (("--checkpoint-minutes", "3"), None, 180.0)):
        name = f"saved{len(options)}"
        assert solve("mine.py:swept", "--checkpoint", name, *options).exit_code == 0
        content = json.loads(next((folder / name).glob("*/manifest.json")).read_text())["content"]
        assert (content["every"], content["seconds"]) == (every, seconds)


def tuned(*arguments):
    run = CliRunner().invoke(main, ["tune", *arguments, "--json"])
    assert run.exit_code == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("arguments", "levers"),
    [
        (("mine.py:problem", "--prefix", "48"), {"coarsening", "relaxation", "min_coarse"}),
        (("mine.py:phi", "--w0", "w0.npy", "--steps", "64", "--method", "newton"), {"slots", "jacobian", "interval"}),
    ],
)
def test_what_tune_recommends_can_be_told_to_solve(folder, arguments, levers):
    found = tuned(*arguments)
    assert levers <= set(found["trials"][0])
    assert "max_rate" not in found["trials"][0]
    words = shlex.split(found["command"])
    assert words[:3] == ["daskmgrit", "solve", arguments[0]]
    assert solved(*words[2:])["converged"]


def test_coarse_steps_are_as_long_as_the_coarsening_that_is_tried(folder):
    """A Phi that supports any is tuned, planned and solved with any; of others the problem says the factor."""
    (folder / "stretched.py").write_text(
        "import numpy as np\nimport daskmgrit as dm\n\n"
        "phi = dm.from_function(lambda w: w - 0.02 * np.sin(w), vectorized=True, coarsening=4, cap=16)\n"
        "problem = dm.problems.OwnProblem(phi, np.ones(3), 64, coarsening=4, relaxation=1)\n"
        "def fixed(weights, index, level):\n"
        "    return weights - 0.02 * min(4**level, 16) * np.sin(weights)\n"
        "own = dm.problems.OwnProblem(fixed, np.ones(3), 64, coarsening=4, relaxation=1)\n"
    )
    assert len({tuple(trial["coarsening"]) for trial in tuned("stretched.py:problem")["trials"]}) > 3
    trials = tuned("stretched.py:own")["trials"]
    assert {tuple(trial["coarsening"]) for trial in trials} == {(4,)}
    assert len(trials) > 3
    for name, tried in (("problem", 18), ("own", 2)):
        run = planned("--problem", f"stretched.py:{name}", "--phi-cost", "1", "--accepted", "2", "--seconds", "10min")
        assert f"{tried} of {tried} settings" in json.loads(run.stdout)["measured"][-1]
    # The line of Python is for the same Phi.
    how = ("--coarsening", "8", "--phi-cost", "1", "--accepted", "2", "--iterations", "2")
    line = json.loads(planned("--problem", "stretched.py:problem", *how).stdout)["python"]
    scope = runpy.run_path(str(folder / "stretched.py"))
    assert "phi.with_coarsening(8)" in line
    assert eval(line, scope | {"w0": np.ones(3)}).converged
    # What a solver with 8 takes is the same Phi, made for 8.
    by_eight = solved("stretched.py:problem", "--coarsening", "8")
    assert by_eight["coarsening"][0] == 8


def test_plan_where_mgrit_does_not_converge(folder):
    (folder / "grows.py").write_text(
        "def phi(weights, index, level):\n    return weights * (1e30 if level else 1.0)\n\n\nw0 = [1.0, 2.0]\n"
    )
    how = ("--problem", "grows.py:phi", "--w0", "grows.py:w0", "--phi-cost", "1")
    found = json.loads(planned(*how).stdout)
    assert (found["faster"], found["seconds"], found["command"]) == ("newton", None, None)
    words = CliRunner().invoke(main, ["plan", "--steps", "120", "--workers", "4", *how]).stdout
    assert "does not converge with any setting" in words
    [command] = [line for line in words.splitlines() if line.startswith("command ")]
    assert "--method newton" in command
    alone = CliRunner().invoke(main, ["plan", "--steps", "120", "--workers", "1", *how]).stdout
    assert "none: MGRIT does not converge, and parallel Newton needs two threads" in alone


def test_plan_measures_a_phi_within_its_time_and_says_what_is_wrong_once(folder):
    (folder / "couples.py").write_text(
        "import numpy as np\n\n\ndef phi(weights, index, level):\n    return weights / np.linalg.norm(weights)\n\n\n"
        "w0 = np.ones(3)\n"
    )
    run = planned("--problem", "couples.py:phi", "--w0", "couples.py:w0", "--seconds", "1ms")
    found = json.loads(run.stdout)
    assert "in a block" in found["remark"]
    assert "in a block" not in run.stderr
    assert found["command"] is found["python"] is found["newton"]["command"] is found["newton"]["python"] is None
    assert "assumed" in found["iterations_from"]
    assert "assumed" in found["newton"]["accepted_from"]
    how = ["--problem", "couples.py:phi", "--w0", "couples.py:w0", "--seconds", "1ms"]
    words = CliRunner().invoke(main, ["plan", "--steps", "120", "--workers", "4", *how]).stdout
    assert "uncertain because of phi" in words
    assert "daskmgrit solve" not in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["xor", "--workers", "4"], "--workers is for --method newton"),
        (["xor", "--optimizer", "adam"], "--optimizer is for --method newton"),
        (["xor", "--method", "newton", "--cycle", "F"], "--cycle is for --method mgrit"),
        (["mine.py:swept", "--maxiter", "4"], "--maxiter is for --method mgrit"),
        (["mine.py:problem", "--max-learning-rate", "4"], "--max-learning-rate is for built-in problems"),
        (["mine.py:phi", "--w0", "short.npy", "--steps", "30"], "states of 3 weights"),
    ],
)
def test_what_tune_refuses(folder, arguments, words):
    run = CliRunner().invoke(main, ["tune", *arguments])
    assert run.exit_code == 2
    assert words in run.stderr


RANDOM = """
import numpy as np
rng, w0 = np.random.default_rng(0), np.ones(2)


def phi(weights, index, level):
    return 0.9 * weights + 0.01 * rng.normal(size=weights.shape)
"""


def test_a_phi_that_draws_is_no_matter_of_settings(folder):
    (folder / "drawn.py").write_text(RANDOM)
    run = CliRunner().invoke(main, ["tune", "drawn.py:phi", "--w0", "drawn.py:w0", "--steps", "64"])
    assert run.exit_code == 1
    assert "keep no state between calls" in run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("Error: none of ")
    assert last.endswith("because phi cannot converge: see above")
    run = CliRunner().invoke(
        main, ["plan", "--problem", "drawn.py:phi", "--w0", "drawn.py:w0", "--steps", "64", "--workers", "4"]
    )
    assert run.exit_code == 0
    assert "keep no state between calls" in run.stdout
    assert "learning rate" not in run.stdout


def test_tune_names_options_where_nothing_converges(folder):
    run = CliRunner().invoke(main, ["tune", "mine.py:phi", "--w0", "w0.npy", "--steps", "200", "--maxiter", "1"])
    assert run.exit_code == 1
    assert (
        "within maxiter=1 cycles on the first 200 steps: shorten its coarse steps, allow more cycles (--maxiter)"
        in run.stderr
    )


def test_tune_does_not_shorten_what_is_as_short_as_it_can_be(folder):
    (folder / "capped.py").write_text(
        "import daskmgrit as dm\nphi = dm.from_function(lambda w, i: 0.99 * w, cap=1)\nw0 = [1.0]\n"
    )
    run = CliRunner().invoke(
        main, ["tune", "capped.py:phi", "--w0", "capped.py:w0", "--steps", "200", "--maxiter", "1"]
    )
    assert run.exit_code == 1
    assert "lengthen its coarse steps" in run.stderr


def test_threads_of_this_process(folder):
    (folder / "told.py").write_text(
        "import dask\nimport numpy as np\n\nSEEN = []\n\n\ndef phi(weights, index, level):\n"
        "    SEEN.append(dask.config.get('num_workers', None))\n    return 0.9 * weights\n\n\nw0 = np.ones(3)\n"
    )
    how = ("--method", "newton", "--steps", "20", "--slots", "4", "--threads", "3")
    assert solved("told.py:phi", "--w0", "told.py:w0", *how)["converged"]
    assert sys.modules["told"].SEEN[-1] == 3
    assert dask.config.get("num_workers", None) is None
    for other in (("--scheduler", "tcp://127.0.0.1:1"), ("--slurm",)):
        run = CliRunner().invoke(main, ["solve", "told.py:phi", "--w0", "told.py:w0", "--threads", "3", *other])
        assert run.exit_code == 2
        assert f"--threads 3 is not for {other[0]}" in run.stderr


def test_plan_takes_the_steps_of_the_problem(folder):
    how = ["--workers", "4", "--phi-cost", "1", "--accepted", "4:1.5", "--iterations", "3", "--json"]
    run = CliRunner().invoke(main, ["plan", "--problem", "mine.py:problem", *how])
    assert json.loads(run.stdout)["steps"] == 100
    run = CliRunner().invoke(main, ["plan", "--workers", "4", "--phi-cost", "1"])
    assert run.exit_code == 2
    assert "give --steps" in run.stderr


def planned(*arguments):
    return CliRunner().invoke(main, ["plan", "--steps", "120", "--workers", "4", *arguments, "--json"])


@pytest.mark.parametrize("target", [("mine.py:problem",), ("mine.py:phi", "--w0", "w0.npy")])
def test_what_plan_recommends_can_be_told_to_solve(folder, target):
    run = planned("--problem", *target)
    assert run.exit_code == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["phi"]["state"] + found["phi"]["call"] > 0
    assert found["iterations_from"] == "measured"
    assert found["coarsening"] == [2, 2]
    assert "measured on the first" in found["newton"]["accepted_from"]
    for command in (found["command"], found["newton"]["command"]):
        words = shlex.split(command)
        assert set(target) <= set(words)
        answer = solved(*words[2 : words.index("--workers")])
        assert answer["steps"] == 120
        assert answer["converged"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--problem", "mine.py:gone"], "--problem mine.py:gone: there is no 'gone'"),
        (["--problem", "mine.py:problem", "--solver", "2"], "--solver is for built-in problems"),
        (["--problem", "mine.py:problem", "--optimizer", "adam"], "--optimizer is for built-in problems"),
        (["--problem", "mine.py:phi", "--w0", "short.npy"], "states of 3 weights"),
        (["--phi-cost", "1", "--w0", "w0.npy"], "--w0 needs --problem"),
        (["--phi-cost", "1", "--iterations", "nan"], "--iterations"),
        (["--phi-cost", "1", "--accepted", "8:2,x"], "8:2.5,16:3.1"),
        (["--phi-cost", "1", "--accepted", "8:9"], "a sweep over 8 slots accepts at most 8"),
    ],
)
def test_what_plan_refuses(folder, arguments, words):
    run = planned(*arguments)
    assert run.exit_code == 2
    assert words in run.stderr


def test_a_shell_completes_names_and_files():
    def items(incomplete):
        return [(item.value, item.type) for item in completed(None, None, incomplete)]

    assert items("d") == [("digits", "plain")]
    assert {value for value, _ in items("")} >= {"xor", "adder", "digits"}
    assert items("mine") == [("mine", "file")]


COUNTED = """
import numpy as np


def phi(weights, index, level):
    return weights / np.linalg.norm(weights) if coupled else 0.9 * weights


w0, coupled = np.ones(3), False
"""


@pytest.mark.parametrize("method", ["mgrit", "newton"])
def test_a_phi_is_tried_once(folder, method, monkeypatch):
    """A solve that is told what was found does not try it again."""
    name = f"counted_{method}"
    (folder / f"{name}.py").write_text(COUNTED)
    tried = []
    monkeypatch.setattr("daskmgrit.cli.problem.try_phi", lambda *args: tried.append("command") or try_phi(*args))
    monkeypatch.setattr("daskmgrit.solver.first_look.try_phi", lambda *args: tried.append("solve") or try_phi(*args))
    solved(f"{name}.py:phi", "--w0", f"{name}.py:w0", "--steps", "20", "--method", method)
    assert tried == ["command"]
    dm.MGRIT(lambda w, i, level: 0.9 * w, 20).solve(np.ones(3))
    assert tried == ["command", "solve"]


def test_what_is_wrong_with_a_phi_is_told_once(folder, caplog):
    (folder / "coupled.py").write_text(COUNTED.replace("coupled = np.ones(3), False", "coupled = np.ones(3), True"))
    run = solve("coupled.py:phi", "--w0", "coupled.py:w0", "--steps", "20", "--maxiter", "3")
    assert "in a block" in run.stdout + caplog.text
    caplog.clear()
    run = CliRunner().invoke(main, ["tune", "coupled.py:phi", "--w0", "coupled.py:w0", "--steps", "20"])
    assert (run.stderr + caplog.text).count("in a block") == 1
