"""Help, usage errors and words of `daskmgrit solve`."""

import io
import json
import sys
from contextlib import redirect_stderr

import click
import dask
import pytest

from daskmgrit.checkpoint.place import claim
from daskmgrit.cli.ends import run
from daskmgrit.cli.main import main
from tests.support.cli import CliRunner


def call(*arguments):
    return CliRunner().invoke(main, ["solve", *map(str, arguments)])


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


def test_a_directory_of_checkpoints_that_cannot_be_used_is_told_first(tmp_path, monkeypatch):
    """Before workers are started and the hierarchy is shown."""
    monkeypatch.setattr("daskmgrit.cli.solve.command_client", lambda *_: pytest.fail("workers were asked for"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "lock").symlink_to(tmp_path / "nowhere")
    (tmp_path / "busy").mkdir()
    with claim(tmp_path / "busy", False, None):
        for name, words in (
            ("other", "holds something else (thesis.tex)"),
            ("other/thesis.tex/below", "cannot be used"),
            ("linked", "cannot be written to"),
            ("busy", "is in use by another solve"),
        ):
            for method in ("mgrit", "newton"):
                out = call(
                    "xor", "--steps", "20", "--workers", "2", "--method", method, "--checkpoint", tmp_path / name
                )
                assert out.exit_code == 3
                assert words in out.stderr
                assert out.stderr.startswith("Error: ")


@pytest.mark.parametrize("option", [("--maxiter", "3"), ("--cycle", "F"), ("--storage", "c-points"), ("--chunks", "2")])
def test_options_of_mgrit_are_refused_with_newton(option):
    run = CliRunner().invoke(main, ["solve", "xor", "--method", "newton", "--steps", "20", *option])
    assert run.exit_code == 2
    assert f"{option[0]} is for --method mgrit" in run.stderr


@pytest.mark.parametrize("option", [("--slots", "4"), ("--jacobian", "full"), ("--rank", "8"), ("--interval", "2")])
def test_options_of_newton_are_refused_with_mgrit(option):
    run = call("xor", "--steps", "20", *option)
    assert run.exit_code == 2
    assert f"{option[0]} is for --method newton" in run.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--slots", "0"), "a number of slots, at least 1"),
        (("--tol", "nan"), "nan is not a finite number"),
        (("--optimizer", "adam", "--solver", "2"), "--solver is for gradient descent, not for --optimizer adam"),
        (("--optimizer", "adam", "--max-learning-rate", "2"), "--max-learning-rate is for gradient descent"),
    ],
)
def test_values_of_newton(option, words):
    run = call("xor", "--method", "newton", "--steps", "20", *option)
    assert run.exit_code == 2
    assert words in run.stderr


def test_the_call_stack_is_shown_when_it_is_asked_for(tmp_path, monkeypatch):
    """By the program itself, whose end `run` is; before or after the name of a command."""
    (tmp_path / "bad.py").write_text(
        "import numpy as np\n\n\ndef step(weights, index, level):\n    if index[0] > 3:\n"
        "        raise RuntimeError('no data')\n    return 0.9 * weights\n\n\nproblem = step, np.ones(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    solve = ["solve", "bad.py:problem", "--steps", "32"]
    for arguments, debug in ((solve, False), ([*solve, "--debug"], True), (["--debug", *solve], True)):
        monkeypatch.setattr(sys, "argv", ["daskmgrit", *arguments])
        with dask.config.set({"daskmgrit.debug": False}), redirect_stderr(io.StringIO()) as err:
            assert run(main) == 3
        assert ("in step" in err.getvalue()) == debug
        assert err.getvalue().splitlines()[-1].startswith("Error: the Phi of bad.py:problem raised RuntimeError")
    # As `dask mgrit` it is click that ends the program.
    with dask.config.set({"daskmgrit.debug": False}):
        assert "in step" in CliRunner().invoke(main, ["--debug", *solve]).stderr


@pytest.mark.parametrize("name", ["solve", "tune"])
def test_every_option_is_in_one_group_of_the_help(name):
    command = main.get_command(None, name)
    options = [param for param in command.params if isinstance(param, click.Option)]
    grouped = [option for group in command.groups.values() for option in group]
    assert sorted([*(option.name for option in grouped), "debug"]) == sorted(option.name for option in options)
    text = CliRunner().invoke(main, [name, "--help"]).stdout
    places = [text.index(f"\n{title}:\n") for title in [*command.groups, "Other options"]]
    assert places == sorted(places)
    for option in options:
        assert text.count(f"\n  {option.opts[0]} ") == 1


def test_what_a_person_is_told():
    words = call("adder", "--steps", "16", "--max-levels", "2").stdout
    assert " V-cycles on 2 levels" in words
    assert " per cycle on average; " in words
    assert "the paper's problem" in words
    assert "iterations" not in words
    assert "convergence factor" not in call("xor", "--steps", "16", "--maxiter", "0").stdout


# Of Python, where the command has options.
PYTHON = ("tol=", "maxiter=", "max_levels=", "relaxation=", "initial_guess=", "ParallelNewton", "max_learning_rate=")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_advice_names_options_of_the_command(as_json, tmp_path, monkeypatch):
    solve = [*as_json, "--steps", "200", "--maxiter", "4"]
    slow = call("xor", "--solver", "naive", "--learning-rate", "5", *solve)
    (tmp_path / "own.py").write_text(
        "import numpy as np\nw0 = np.ones(2)\n\n\ndef phi(w, i, level):\n    return 0.99 * w\n"
    )
    monkeypatch.chdir(tmp_path)
    own = call("own.py:phi", "--w0", "own.py:w0", *solve)
    few = call("xor", *solve)
    assert [out.exit_code for out in (slow, own, few)] == [1, 1, 1]
    for out in (slow, own, few):
        found = json.loads(out.stdout)["advice"] if as_json else out.stdout
        assert not [name for name in PYTHON if name in found]
    assert "--maxiter" in few.stdout
    assert "--max-learning-rate" in slow.stdout
    assert "--max-learning-rate" not in own.stdout


def test_the_outcome_is_told_if_the_comparison_is_interrupted(monkeypatch):
    """The solve is done then; serial training may take much longer."""

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("daskmgrit.cli.solve.compare", interrupted)
    run = call("xor", "--method", "newton", "--steps", 20, "--check")
    assert run.exit_code == 130
    assert "20" in run.stdout
    assert "sweeps" in run.stdout
