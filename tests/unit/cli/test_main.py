"""The list of commands, and that it imports none of them."""

import pytest

import daskmgrit.cli.main as module
from daskmgrit.cli.main import COMMANDS, main
from daskmgrit.planning.machine import Machine
from tests.support.cli import CliRunner


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name):
    command = main.get_command(None, name)
    assert command.name == name
    assert " ".join(command.help.split()).startswith(COMMANDS[name])


def test_help_imports_no_command(monkeypatch):
    def imported(name):
        pytest.fail(f"{name} was imported")

    monkeypatch.setattr(module.importlib, "import_module", imported)
    run = CliRunner().invoke(main, ["--help"])
    assert run.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in run.output


def test_a_command_that_is_not_there():
    run = CliRunner().invoke(main, ["train"])
    assert run.exit_code == 2
    assert "'train'" in run.stderr


def test_defaults_of_overheads_are_those_of_the_planner():
    helped = CliRunner().invoke(main, ["plan", "--help"]).output
    machine = Machine(1)
    for option, seconds in (
        ("--scheduler-overhead", machine.scheduler),
        ("--worker-overhead", machine.worker),
        ("--latency", machine.latency),
    ):
        assert f"[default: {1e3 * seconds:g}ms]" in " ".join(helped.split(option)[1].split()[:20])
