"""Usage errors of Solver 4's options."""

import pytest

from daskmgrit.cli.main import main
from daskmgrit.problems import adder
from tests.support.cli import CliRunner


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


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


def test_settings_that_stay(tmp_path):
    problem = adder(examples=4)
    own = problem.hierarchy("4")
    assert problem.hierarchy("4", coarsening=2, max_levels=9) == own | {"coarsening": 2, "max_levels": 9}
    assert problem.hierarchy("4", coarsening=4) == {"coarsening": 4}
    out = CliRunner().invoke(main, ["solve", "xor", "--solver", "1", "--max-stages", "3"])
    assert out.exit_code == 2
    assert "max_stages=3 has no effect if coarse steps are capped" in out.stderr
    for options, code, words in (
        (["--table", "8"], 2, "--solver4 excludes --table, --remarks and --study"),
        (["--max-steps", "10"], 0, "its smallest N is above --max-steps 10"),
        (["--no-solve"], 0, "has no results of it yet"),
    ):
        out = CliRunner().invoke(main, ["paper", "--out", str(tmp_path), "--solver4", *options])
        assert (out.exit_code, words in out.stderr) == (code, True), out.stderr


def test_gradients_that_curvatures_took_are_told():
    asked = ("solve", "xor", "--solver", "1", "--steps", "32", "--maxiter", "2")
    told = []
    for rank in ("2", "4"):
        out = call(*asked, "--coarse", "deflated", "--rank", rank)
        told.append(next(line for line in out.stdout.splitlines() if "before the solve, to find curvatures" in line))
    assert told[0] != told[1]
    out = call(*asked, "--coarse", "chebyshev", "--rank", "4")
    assert out.exit_code == 2
    assert "--rank is for --method newton, and for --coarse deflated" in out.stderr
