"""Usage errors of `daskmgrit solve`."""

import pytest

from daskmgrit.cli.main import main
from tests.support.cli import CliRunner


def call(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["xor", "--solver", "7"], "7"),
        (["xor", "--steps", "3", "--coarsening", "4"], "steps=3 is below coarsening=4"),
        (["xor", "--relaxation", "CF"], "relaxation='CF'"),
        (["xor", "--coarsening", "2,x"], "2,x"),
        (["xor", "--chunks", "many"], "many"),
        (["xor", "--chunks", "1000"], "chunks=1000"),
        (["xor", "--learning-rate", "-1"], "-1"),
        (["xor", "--max-learning-rate", "0.5"], "max_learning_rate=0.5 is below learning_rate=1.0"),
        (["xor", "--tol", "-1"], "'--tol': -1.0 is not in the range"),
        (["xor", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "exclude"),
        (["xor", "--plot", "/nowhere/at/all.png"], "does not exist"),
        (["xor", "--plot", "picture.xyz"], ".png"),
        (["xor", "--batch", "9", "--solver", "2"], "batch=9"),
        (["xor", "--batch", "2", "--solver", "1"], "no effect"),
        (["xor", "--max-learning-rate", "2", "--solver", "naive"], "no effect"),
        (["xor", "--seed", "-1"], "--seed"),
        (["xor", "--scheduler", "nonsense"], "--scheduler nonsense"),
    ],
)
def test_bad_usage_is_status_2(arguments, words):
    out = call(*arguments)
    assert out.exit_code == 2
    assert words in out.stderr
    assert out.stdout == ""


@pytest.mark.parametrize("option", [["--resume"], ["--checkpoint-every", "3"], ["--checkpoint-minutes", "0"]])
def test_checkpoint_options_need_a_directory(option):
    out = call("xor", *option)
    assert out.exit_code == 2
    assert "need --checkpoint DIR" in out.stderr


@pytest.mark.parametrize("option", [("--maxiter", "3"), ("--cycle", "F"), ("--storage", "c-points"), ("--chunks", "2")])
def test_options_of_mgrit_are_refused_with_newton(option):
    run = CliRunner().invoke(main, ["solve", "xor", "--method", "newton", "--steps", "20", *option])
    assert run.exit_code == 2
    assert f"{option[0]} is for --method mgrit" in run.stderr
