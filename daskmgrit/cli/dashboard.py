"""``daskmgrit dashboard``: a local cluster that solves a problem over and over, and the page that shows it."""

from __future__ import annotations

import itertools
import time
import webbrowser
from contextlib import ExitStack, suppress

import click

from daskmgrit.cli.connection import page_beside
from daskmgrit.cli.ends import Command, note, say, usage_errors
from daskmgrit.cli.interrupt import quiet_end
from daskmgrit.cli.local_cluster import check_workers, local_cluster
from daskmgrit.cli.problem import asked_problem, completed, try_own
from daskmgrit.cli.values import CYCLE, SECONDS, STEPS
from daskmgrit.mgrit import MGRIT
from daskmgrit.problems import OwnProblem
from daskmgrit.problems.training import training

__all__ = ["dashboard"]


@click.command(cls=Command)
@click.argument("problem", default="digits", shell_complete=completed)
@click.option("--w0", metavar="STATE", help="Initial state of a Phi of your own, as for `solve`.")
@click.option("--steps", type=STEPS, help="N, the number of training steps; by default the problem's own.")
@click.option("--cycle", type=CYCLE, default="V", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
@click.option("--chunks", type=click.IntRange(min=1), help="Chunks of level 0 [default: two for each worker].")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="Port; 0: any.")
@click.option("--repeat", type=click.IntRange(min=1), metavar="K", help="Number of solves [default: until Ctrl-C].")
@click.option("--pause", type=SECONDS, default=1.0, show_default=True, help="Time between solves.")
@click.option("--show/--no-show", default=True, help="Open a browser, or only print the page's address.")
def dashboard(
    problem: str,
    w0: str | None,
    steps: int | None,
    cycle: str,
    workers: int,
    chunks: int | None,
    port: int,
    repeat: int | None,
    pause: float,
    show: bool,
) -> None:
    """Watch PROBLEM being solved, over and over, on the page /mgrit of Dask's dashboard.

    PROBLEM is xor, adder, digits, or one of your own as for `daskmgrit solve`.

    Starts a cluster on this machine that only this machine can reach, and stops it at Ctrl-C.
    """
    with usage_errors():
        check_workers(workers)
        found = asked_problem(problem, w0, steps)
        task = training(found, steps=steps)
        if isinstance(found, OwnProblem):
            try_own(task, problem)
        solver = MGRIT(task.phi, task.steps, cycle=cycle, **task.hierarchy())
        _run(solver, task, workers, chunks, port, repeat, pause, show)


def _run(
    solver: MGRIT,
    task: OwnProblem,
    workers: int,
    chunks: int | None,
    port: int,
    repeat: int | None,
    pause: float,
    show: bool,
) -> None:
    import dask
    from distributed import Client

    from daskmgrit.dashboard import dask_setup

    with ExitStack() as stack:
        # Few levels in one task: there is more to see.
        stack.enter_context(
            dask.config.set({"daskmgrit.dashboard": True, "daskmgrit.agglomerate": len(solver.hierarchy)})
        )
        cluster = stack.enter_context(local_cluster(workers, port=port))
        client = stack.enter_context(Client(cluster))
        stack.enter_context(quiet_end(client))
        client.run_on_scheduler(lambda dask_scheduler: dask_setup(dask_scheduler))
        page = page_beside(client.dashboard_link)
        note(solver)
        say(f"{page}  (Ctrl-C ends it)")
        if show:
            with suppress(webbrowser.Error):
                webbrowser.open(page)
        for number in itertools.count(1):
            result = solver.solve(
                task.w0, initial_guess=task.initial_guess, chunks=chunks or 2 * workers, client=client, progress=False
            )
            say(
                f"solve {number}: {result.iterations} cycles, {result.reason}, residual {result.residuals[-1]:.1e}, "
                f"{result.timings['total']:.1f} s"
            )
            if number == repeat:
                return
            time.sleep(pause)
