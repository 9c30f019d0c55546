"""The command line: ``daskmgrit …``, also ``dask mgrit …``."""

from __future__ import annotations

import importlib
from typing import Any

import click

from daskmgrit._version import __version__
from daskmgrit.cli.ends import STATUSES, Command, call_stacks, documented_ends
from daskmgrit.utils.malloc import keep_freed_memory

__all__ = ["main"]

# Each command is the function of its name in the module of its name; here, the first sentence of its help.
COMMANDS = {
    "dashboard": "Watch PROBLEM being solved, over and over, on the page /mgrit of Dask's dashboard.",
    "new": "Write FILE, an example of a problem of your own, which `daskmgrit solve FILE:problem` solves at once.",
    "paper": "Solve the paper's experiments and set published and measured numbers side by side.",
    "plan": "Predict which method pays on a cluster: MGRIT, parallel Newton, or serial training.",
    "solve": "Train PROBLEM in parallel over the training steps, by MGRIT or by parallel Newton.",
    "tune": "Find settings of PROBLEM with a short critical path, by solving a short prefix of its training run.",
}


class LazyGroup(Command, click.Group):
    """Imports a command when it runs, so that no command waits for the imports of the others."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> Any:
        """Import a command, None if there is none of that name."""
        return getattr(importlib.import_module(f"daskmgrit.cli.{name}"), name) if name in COMMANDS else None

    def invoke(self, context: click.Context) -> Any:
        """Run a command; it ends as documented, also as one of ``dask mgrit``."""
        with call_stacks(), documented_ends():
            return super().invoke(context)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(context)])


@click.group("mgrit", cls=LazyGroup, epilog=STATUSES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="daskmgrit", prog_name="daskmgrit")
def main() -> None:
    """Train neural networks in parallel over the training steps: multigrid reduction in time (MGRIT) on Dask."""
    keep_freed_memory()
