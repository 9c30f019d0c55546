"""The command ``python -m benchmarks``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before NumPy is imported: seconds of processor time are those of one core.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import click

from benchmarks import frameworks as frameworks_module
from benchmarks import listening as listening_module
from benchmarks import memory as memory_module
from benchmarks import newton as newton_module
from benchmarks import newton_counts as newton_counts_module
from benchmarks import newton_nets as newton_nets_module
from benchmarks import overhead as overhead_module
from benchmarks import peers as peers_module
from benchmarks import scale as scale_module
from benchmarks import scaling as scaling_module
from benchmarks import speedup as speedup_module
from benchmarks import tables
from benchmarks import timed_nets as timed_nets_module
from benchmarks.environment import environment

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
FULL = click.option("--full", is_flag=True, help="More sizes, at full size: takes up to an hour.")
PYTHON = click.option("--pymgrit", metavar="PYTHON", help="An interpreter that has PyMGRIT.  [default: made once]")
PLOT = click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Plot speedup against threads."
)


def note(text: str) -> None:
    """Print a progress message."""
    click.echo(text, err=True)


def show(report: dict[str, Any], as_json: bool) -> None:
    """Print the measurements and their environment, as JSON or as tables."""
    report = report | {"environment": environment()}
    click.echo(json.dumps(report) if as_json else tables.text(report))


@click.group()
def main() -> None:
    """Measure side by side and print ratios: seconds alone mean little on a shared machine."""


@main.command()
@FULL
@PYTHON
@AS_JSON
def peers(full: bool, pymgrit: str | None, as_json: bool) -> None:
    """XOR by PyMGRIT, by this package and by the serial loop: histories entry by entry, and processor time."""
    show(_peers(full, pymgrit), as_json)


@main.command()
@FULL
@AS_JSON
def overhead(full: bool, as_json: bool) -> None:
    """The time of a solve outside Phi, against empty tasks."""
    show(_overhead(full), as_json)


@main.command()
@FULL
@PLOT
@AS_JSON
def scaling(full: bool, plot: Path | None, as_json: bool) -> None:
    """Speedup of steps that wait, against the critical path and the plan."""
    show(_scaling(full, plot), as_json)


@main.command()
@FULL
@AS_JSON
def scale(full: bool, as_json: bool) -> None:
    """Many single-threaded workers: the scheduler's time by messages, cycles of steps that wait, a large graph."""
    show(_scale(full), as_json)


@main.command()
@FULL
@AS_JSON
def memory(full: bool, as_json: bool) -> None:
    """Memory, with all points held and with C-points only."""
    show(_memory(full), as_json)


@main.command()
@FULL
@AS_JSON
def listening(full: bool, as_json: bool) -> None:
    """Cost of the dashboard's listening: solves with and without it, in turn."""
    show(_listening(full), as_json)


@main.command()
@FULL
@PLOT
@AS_JSON
def newton(full: bool, plot: Path | None, as_json: bool) -> None:
    """Parallel Newton on steps that wait, against serial training and what its sweeps allow."""
    show(_newton(full, plot), as_json)


@main.command()
@PLOT
@AS_JSON
def speedup(plot: Path | None, as_json: bool) -> None:
    """Speedup of both methods on steps that wait 250 ms: the picture of the README; takes 15 minutes."""
    report = speedup_module.speedup(note=note)
    if plot:
        speedup_module.plot(report, plot)
    show(report, as_json)


@main.command()
@FULL
@AS_JSON
def frameworks(full: bool, as_json: bool) -> None:
    """Time of a call of the PyTorch and JAX propagators, against the framework's own step."""
    show({"frameworks": frameworks_module.frameworks(15 if full else 5, note=note)}, as_json)


@main.command("newton-counts")
@FULL
@click.option(
    "--group", "groups", multiple=True, type=click.Choice(newton_counts_module.GROUPS), help="Only these; may repeat."
)
@AS_JSON
def newton_counts(full: bool, groups: tuple[str, ...], as_json: bool) -> None:
    """Sweeps, Phi in a row and work of parallel Newton; with --full against expected values."""
    report = _newton_counts(full, groups)
    show(report, as_json)
    if any(row["as_expected"] is False for row in report["newton_counts"]):
        sys.exit(1)


@main.command("newton-nets")
@FULL
@click.option(
    "--net", "nets", multiple=True, type=click.Choice(newton_nets_module.NETS), help="Only these; may repeat."
)
@click.option("--steps", type=click.IntRange(1), help="N.  [default: 300, without --full 60]")
@click.option("--timed", is_flag=True, help="On 4 and 8 threads, against PyTorch's own loop; examples are repeated.")
@click.option("--step-seconds", default=0.1, show_default=True, help="With --timed: minimum time of a step.")
@AS_JSON
def newton_nets(
    full: bool, nets: tuple[str, ...], steps: int | None, timed: bool, step_seconds: float, as_json: bool
) -> None:
    """Steps that a sweep of parallel Newton accepts on convolutional, physics-informed and transformer nets."""
    if timed:
        chosen_nets = nets or newton_nets_module.NETS
        rows = timed_nets_module.timed_nets(chosen_nets, steps or 60, step_seconds, note=note)
        show({"timed_nets": rows}, as_json)
        return
    cases = newton_nets_module.WHOLE if full or nets else newton_nets_module.QUICK
    chosen = [case for case in cases if not nets or case.net in nets]
    chosen = [replace(case, steps=steps) for case in chosen] if steps else chosen
    show({"newton_nets": newton_nets_module.newton_nets(tuple(chosen), note)}, as_json)


@main.command("all")
@FULL
@PYTHON
@PLOT
@AS_JSON
def everything(full: bool, pymgrit: str | None, plot: Path | None, as_json: bool) -> None:
    """All of them."""
    report = _peers(full, pymgrit) | _overhead(full) | _scaling(full, plot) | _scale(full)
    show(report | _memory(full) | _listening(full) | _newton_counts(full, ()), as_json)


def _peers(full: bool, pymgrit: str | None) -> dict[str, Any]:
    try:
        python = peers_module.pymgrit_python(pymgrit, note)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    repeats = 9 if full else 5
    return {
        "peers": peers_module.peers(python, repeats=repeats, note=note),
        "one_core": peers_module.one_core(repeats=repeats, note=note),
    }


def _overhead(full: bool) -> dict[str, Any]:
    return {"overhead": overhead_module.overhead(repeats=12 if full else 6, note=note)}


def _scaling(full: bool, plot: Path | None) -> dict[str, Any]:
    report = scaling_module.scaling(scaling_module.WHOLE if full else scaling_module.QUICK, note)
    if plot:
        scaling_module.plot(report, plot)
    return {"scaling": report}


def _scale(full: bool) -> dict[str, Any]:
    return {"scale": scale_module.scale(scale_module.WHOLE if full else scale_module.QUICK, note)}


def _newton(full: bool, plot: Path | None) -> dict[str, Any]:
    report = newton_module.newton(newton_module.WHOLE if full else newton_module.QUICK, note)
    if plot:
        newton_module.plot(report, plot)
    return {"newton": report}


def _memory(full: bool) -> dict[str, Any]:
    return {"memory": memory_module.memory(memory_module.WHOLE if full else memory_module.QUICK, note)}


def _listening(full: bool) -> dict[str, Any]:
    return {"listening": listening_module.listening(16 if full else 6, note=note)}


def _newton_counts(full: bool, groups: tuple[str, ...]) -> dict[str, Any]:
    cases = newton_counts_module.WHOLE if full else newton_counts_module.QUICK
    chosen = tuple(case for case in cases if not groups or case.group in groups)
    return {"newton_counts": newton_counts_module.newton_counts(chosen, note)}


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m benchmarks"))
