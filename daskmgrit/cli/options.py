"""Options that several commands share, their layout in the help, and the options that were given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from daskmgrit.cli.ends import Command
from daskmgrit.problems.own import METHODS
from daskmgrit.problems.training import OPTIMIZERS

__all__ = ["AS_JSON", "PROBLEM_HELP", "W0", "Grouped", "given", "method", "optimizer", "refuse"]

PROBLEM_HELP = """PROBLEM is xor, adder, digits, pinn or cnn, or one of your own: FILE.py:NAME or PACKAGE.MODULE:NAME of
    a Phi, an OwnProblem, or a function that returns one (`daskmgrit new` writes a file to begin with)."""

W0 = click.Option(
    ["--w0"],
    metavar="FILE.npy|FILE.py:NAME|MODULE:NAME",
    help="Initial state of a Phi of your own without one.",
)

AS_JSON = click.Option(
    ["--json", "as_json"], is_flag=True, help="Print one JSON object on standard output, all else on stderr."
)


def method(says: str) -> click.Option:
    """Return the option ``--method``; `says` describes each method."""
    return click.Option(["--method"], type=click.Choice(METHODS), help=f"{says}  [default: mgrit, or PROBLEM's own]")


def optimizer(of: str = "Of --method newton") -> click.Option:
    """Return the option ``--optimizer``; its value is None if it was not given."""
    return click.Option(
        ["--optimizer"],
        type=click.Choice(OPTIMIZERS),
        help=f"{of}; sgd is the gradient descent of --solver.  [default: sgd]",
    )


class Grouped(Command):
    """A command whose help lists its options in groups.

    Parameters
    ----------
    groups : mapping of str to sequence of click.Option
        The options of each group, by its title, in the order of the help.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[click.Option]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.groups = groups
        self.params += [option for options in groups.values() for option in options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each group, and at the end one of the other options."""
        grouped = {option.name for options in self.groups.values() for option in options}
        others = [
            param for param in self.get_params(ctx) if isinstance(param, click.Option) and param.name not in grouped
        ]
        for title, options in [*self.groups.items(), ("Other options", others)]:
            records = [record for option in options if (record := option.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)


def given() -> set[str]:
    """Return the names of the parameters that the user gave."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


def refuse(names: Collection[str], why: str) -> None:
    """Refuse given parameters; name the option in the error.

    Raises
    ------
    click.UsageError
        If one of them was given; `why` follows its name in the message.
    """
    found = given()
    for param in click.get_current_context().command.params:
        if param.name in names and param.name in found:
            raise click.UsageError(f"{param.opts[0]} {why}")
