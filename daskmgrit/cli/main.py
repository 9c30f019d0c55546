"""The command line: ``daskmgrit …``, also ``dask mgrit …``."""

from __future__ import annotations

import click

from daskmgrit._version import __version__
from daskmgrit.cli.dashboard import dashboard
from daskmgrit.cli.paper import paper
from daskmgrit.cli.plan import plan
from daskmgrit.cli.solve import solve
from daskmgrit.cli.tune import tune
from daskmgrit.utils.malloc import keep_freed_memory

__all__ = ["main"]


@click.group("mgrit", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="daskmgrit", prog_name="daskmgrit")
def main() -> None:
    """Train neural networks in parallel over the training steps: multigrid reduction in time (MGRIT) on Dask."""
    keep_freed_memory()


for command in (solve, plan, tune, paper, dashboard):
    main.add_command(command)
