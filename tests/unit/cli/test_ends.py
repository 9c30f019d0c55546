"""One mechanism maps whatever happens in a command to a documented status."""

import sys

import click
import pytest

from daskmgrit.cli.ends import CannotRun, documented_ends, note, say
from daskmgrit.cli.main import main
from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError
from tests.support.cli import CliRunner


class Broken:
    """A stream that nothing can be written to."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def fileno(self):
        raise OSError("no file")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (MemoryError("Unable to allocate 29.1 TiB"), 3, "29.1 TiB"),
        (ClusterError("no workers"), 3, "no workers"),
        (CheckpointError("in use"), 3, "in use"),
        (PropagatorError("phi is for one state"), 3, "phi is for one state"),
        (ImportError("install scikit-learn"), 3, "install scikit-learn"),
        (click.UsageError("--steps"), 2, "--steps"),
    ],
)
def test_statuses(error, status, words):
    error.add_note("a hint")

    @click.command()
    def command():
        with documented_ends():
            raise error

    run = CliRunner().invoke(command)
    assert run.exit_code == status
    assert words in run.stderr
    if status == 130:
        assert "interrupted; a hint" in run.stderr


@pytest.mark.parametrize("name", ["solve", "plan", "tune", "dashboard", "new"])
def test_all_commands_are_covered(name, monkeypatch):
    command = main.get_command(None, name)

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "callback", interrupted)
    needed = {"solve": ["xor"], "plan": ["--steps", "8"], "tune": ["xor"], "dashboard": [], "new": ["x.py"]}[name]
    run = CliRunner().invoke(main, [name, *needed])
    assert (run.exit_code, run.stderr) == (130, "interrupted\n")


def test_what_cannot_be_written(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(CannotRun, match="No space left"):
        say("result")
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    say("result")
    monkeypatch.setattr(sys, "stderr", Broken(BrokenPipeError()))
    note("progress")


def test_a_missing_package_has_one_status(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    run = CliRunner().invoke(main, ["solve", "xor", "--plot", str(tmp_path / "plot.png")])
    assert run.exit_code == 3
    assert "matplotlib" in run.stderr


@pytest.mark.parametrize(
    "options", [("--chunks", "999"), ("--tol", "-1"), ("--maxiter", "-2"), ("--relaxation", "9999999")]
)
def test_bad_usage_is_said_before_the_levels_are_shown(options):
    run = CliRunner().invoke(main, ["solve", "xor", "--steps", "60", *options])
    assert run.exit_code == 2
    assert options[1].lstrip("-") in run.stderr
    assert "hierarchy" not in run.stderr
