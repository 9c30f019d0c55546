"""The command ``daskmgrit paper``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from daskmgrit.cli.ends import Command, note, say
from daskmgrit.paper import figures as drawing
from daskmgrit.paper import report, solver4, study
from daskmgrit.paper.run import Measurements, measure, write_whole
from daskmgrit.paper.tables import Reading, Table, figures, tables
from daskmgrit.utils.install_hint import install_hint

__all__ = ["paper"]

# Steps up to which two cores do everything in about ten minutes, and up to which --full also runs the readings after
# the first; by table.
DEFAULT_STEPS = {range(1, 9): 3200, range(9, 13): 320, range(13, 21): 800}
FURTHER_STEPS = {range(1, 9): 25600, range(9, 13): 320, range(13, 21): 3200}


def _within(table: Table, reading: Reading, steps: int, full: bool) -> bool:
    """Whether a column is run without --max-steps."""

    def limit(steps_of: dict[range, int]) -> int:
        return next(most for numbers, most in steps_of.items() if table.number in numbers)

    first = reading is table.readings[0]
    if full:
        return first or steps <= limit(FURTHER_STEPS)
    # Of the tables whose Phi costs milliseconds, the readings after the first stop a column earlier.
    halved = not first and table.number in range(9, 13)
    return steps <= limit(DEFAULT_STEPS) // (2 if halved else 1)


@click.command(cls=Command)
@click.option("--out", "folder", type=click.Path(file_okay=False), required=True, help="Folder for the report.")
@click.option("--table", "wanted", type=click.IntRange(1, 20), multiple=True, help="Only this table; may be repeated.")
@click.option(
    "--max-steps", type=click.IntRange(min=1), help="All columns up to this N; by default those of about ten minutes."
)
@click.option(
    "--full",
    is_flag=True,
    help="All columns; the readings after the first of Tables 9-12 to N = 320, of 13-20 to 3200. Takes hours.",
)
@click.option("--remarks", is_flag=True, help="Also the variants of Remarks 1, 3 and 4.")
@click.option(
    "--study", "with_study", is_flag=True, help="Also seeds, weights, data and guesses of the four-layer net."
)
@click.option("--solver4", "only_solver4", is_flag=True, help="Only Solver 4 against Solvers 1-3, into solver4.md.")
@click.option("--no-solve", is_flag=True, help="Only write the report on earlier results.")
def paper(
    folder: str,
    wanted: tuple[int, ...],
    max_steps: int | None,
    full: bool,
    remarks: bool,
    with_study: bool,
    only_solver4: bool,
    no_solve: bool,
) -> None:
    """Solve the paper's experiments and set published and measured numbers side by side.

    Writes paper.md, paper.csv, figure6.png … and paper.json into the folder. Called again it resumes where it
    stopped: paper.json keeps every column that was solved, and the report shows them all.
    """
    if not folder:
        raise click.UsageError("--out names no folder: give a folder for the report")
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        store = Measurements(out / "paper.json")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"--out {out}: {error}") from error
    _check_folder(out)
    if only_solver4 and (wanted or remarks or with_study):
        raise click.UsageError("--solver4 excludes --table, --remarks and --study: leave them out")
    if only_solver4 or not wanted:
        _solver4(out, max_steps, full, no_solve)
    if only_solver4:
        return
    every = tables()
    chosen = [every[number] for number in sorted(set(wanted) or every)]

    todo: list[tuple[str, Reading, int]] = [
        (f"table {table.number}" + (f" ({reading.label})" if reading.label else ""), reading, steps)
        for table in chosen
        for reading in table.readings
        for steps in table.columns
        if (_within(table, reading, steps, full) if max_steps is None else steps <= max_steps)
    ]
    extras = study.experiments(remarks, with_study, max_steps)
    todo += extras
    if with_study and not any(name.startswith("Why") for name, _, _ in extras):
        note("no study: its smallest N is above --max-steps")
    if not todo:
        least = min(table.columns[0] for table in chosen)
        raise click.UsageError(f"--max-steps {max_steps} leaves no column: the smallest N of these tables is {least}")
    todo.sort(key=lambda task: task[2])
    if no_solve and not any(store.get(reading, steps) for _, reading, steps in todo):
        raise click.UsageError(f"--no-solve: {out} has no results of these tables yet; leave --no-solve out")
    if not no_solve:
        try:
            _run(todo, store, measure)
        except KeyboardInterrupt as error:
            error.add_note(f"the same command resumes from {store.path}")
            raise

    solved = [
        table
        for table in every.values()
        if table in chosen or any(store.get(reading, n) for reading in table.readings for n in table.columns)
    ]
    drawn = []
    shown = []
    for figure in figures():
        lacking = [n for n in figure.tables if not any(store.get(every[n].readings[0], m) for m in every[n].columns)]
        if not lacking:
            shown.append(figure)
        elif not {table.number for table in chosen}.isdisjoint(figure.tables):
            note(f"no Figure {figure.number}: it needs Table {' and '.join(map(str, lacking))} too")
    try:
        for figure in shown:
            drawing.draw(figure, every, store, out / f"figure{figure.number}.png")
            drawn.append(f"figure{figure.number}.png")
    except ImportError:
        note(f"figures need matplotlib: {install_hint('plot')}")
        shown = []
    processors = report.processors_section(every[16], store)
    if remarks and not processors:
        note("no Remark 3: it is drawn from a converged column of Table 16, and none was solved")
    text = report.markdown_report(solved, shown, store, [*study.sections(store), processors], drawn)
    write_whole(out / "paper.md", text)
    write_whole(out / "paper.csv", report.csv_report(solved, store))
    say(text.split("## Summary\n\n")[1].split("\n")[0])
    say(f"report in {out / 'paper.md'}")


def _check_folder(out: Path) -> None:
    """Refuse to overwrite files that this command did not write."""
    path = out / "paper.md"
    ours = not path.exists() or (path.is_file() and path.read_bytes().startswith(report.TITLE.encode()))
    names = [f"figure{figure.number}.png" for figure in figures()]
    foreign = [path] if not ours else []
    if not (out / "paper.json").exists() and not path.exists():
        foreign += [out / name for name in ("paper.csv", *names) if (out / name).exists()]
    if foreign:
        raise click.UsageError(f"{foreign[0]} is not from this command: move it away, or choose another folder")


def _solver4(out: Path, max_steps: int | None, full: bool, no_solve: bool) -> None:
    """Solve the problems on which Solver 4 is compared, and write its tables."""
    try:
        store = Measurements(out / "solver4.json")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    todo = sorted(solver4.columns(max_steps, full), key=lambda task: task[2])
    if not todo:
        note(f"no table of Solver 4: its smallest N is above --max-steps {max_steps}")
        return
    if no_solve and not store.columns:
        note(f"no table of Solver 4: {out} has no results of it yet")
        return
    if not no_solve:
        _run(todo, store, solver4.measure)
    if store.columns:
        say(f"Solver 4 in {solver4.write(out, store)}")


def _run(todo: Sequence[tuple[str, Any, int]], store: Measurements, solve: Callable[..., dict[str, Any]]) -> None:
    """Solve the columns that are not in the store yet, smallest N first."""
    left = [task for task in todo if store.get(task[1], task[2]) is None]
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    if len(left) < len(todo):
        console.print(f"{len(todo) - len(left)} of {len(todo)} columns were solved before")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(left))
        for name, reading, steps in left:
            what = f"{name}, N = {steps}"

            def on_cycle(iteration: int, what: str = what) -> None:
                progress.update(bar, description=f"{what}, cycle {iteration}")

            progress.update(bar, description=what)
            # Tables share columns: another name may have brought this one.
            if (measured := store.get(reading, steps)) is None:
                measured = solve(reading, steps, on_cycle=on_cycle)
                store.put(reading, steps, measured)
            progress.update(bar, advance=1)
            console.print(f"{what}: {report.iterations_text(measured)} cycles, {measured['seconds']:.1f} s")
