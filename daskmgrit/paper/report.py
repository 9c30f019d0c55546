"""The report: published and measured numbers side by side, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from daskmgrit.paper.run import MAXITER, Measurements
from daskmgrit.paper.speedup import bounded_speedup, potential_speedup, sigma_v_on
from daskmgrit.paper.tables import Figure, Reading, Table

TITLE = "# The paper's tables and figures, measured"

LETTERS = "bcdefghijklmnopqrstuvwxyz"

__all__ = ["TITLE", "csv_report", "difference", "iterations_text", "markdown_report", "markdown_table"]


def iterations_text(measured: dict[str, Any]) -> str:
    """Return a count as the paper prints it: "50+" if it did not converge."""
    if measured["reason"] == "diverged":
        return "diverged"
    return str(measured["iterations"]) if measured["converged"] else f"{MAXITER}+"


def rho_text(measured: dict[str, Any]) -> str:
    """Return rho as the paper prints it: "*" if it did not converge."""
    return f"{measured['rho']:.2f}" if measured["converged"] and measured["rho"] is not None else "*"


def difference(published: str, measured: dict[str, Any]) -> str:
    """Return measured minus published iterations; a bound if one of the two did not converge."""
    printed, theirs = int(published.rstrip("+")), not published.endswith("+")
    ours = measured["converged"]
    if ours and theirs:
        return f"{measured['iterations'] - printed:+d}"
    if ours:
        return f"<{measured['iterations'] - printed:+d}"
    return f">{MAXITER - printed:+d}" if theirs else ""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, numbers aligned right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _speedups(reading: Reading, measured: dict[str, Any], digits: int = 2) -> tuple[str, str, str]:
    """N/critical path, sigma and N/sigma; none of a run that did not converge, no sigma of the two-level method."""
    steps, levels = measured["levels"][0], len(measured["levels"])
    if not measured["converged"]:
        return "", "", ""
    ours = f"{steps / measured['critical_path']:.{digits}f}"
    if (
        reading.two_level
        or not (speedup := potential_speedup(steps, levels, reading.cycle, measured["iterations"])) > 0
    ):
        return ours, "", ""
    return ours, f"{steps / speedup:.0f}", f"{speedup:.{digits}f}"


def _table(table: Table, store: Measurements) -> str:
    """One table: its first reading in full, the others' iterations."""
    first, others = table.readings[0], table.readings[1:]
    head = ["N", "paper", "rho", "measured", "rho", "difference", "critical path", "N/critical path"]
    if not first.two_level:
        head += ["sigma", "N/sigma"]
    head += [f"({letter})" for letter in LETTERS[: len(others)]]
    rows = []
    for steps in table.columns:
        published, rho = table.published(steps)
        measured = store.get(first, steps)
        if measured is None:
            cells = [""] * (len(head) - len(others) - 3)
        else:
            ours, sigma, speedup = _speedups(first, measured)
            path = str(measured["critical_path"])
            cells = [iterations_text(measured), rho_text(measured), difference(published, measured), path, ours]
            if not first.two_level:
                cells += [sigma, speedup]
        for reading in others:
            other = store.get(reading, steps)
            cells.append(iterations_text(other) if other else "")
        rows.append([str(steps), published, rho, *cells])
    lines = [f"### Table {table.number}", "", f"Caption: *{table.caption}*", ""]
    if table.note:
        lines += [table.note.strip(), ""]
    if first.label:
        lines += [f"Measured: {first.label}.", ""]
    lines.append(markdown_table(head, rows))
    if others:
        lines.append("")
        lines += [f"* ({letter}) {reading.label}" for letter, reading in zip(LETTERS, others, strict=False)]
    return "\n".join(lines)


def _summary(tables: Sequence[Table], store: Measurements) -> str:
    found = dict.fromkeys(("0", "1", "2", "more", "neither", "theirs", "ours"), 0)
    for table in tables:
        for steps in table.columns:
            measured = store.get(table.readings[0], steps)
            if measured is None:
                continue
            published = table.published(steps)[0]
            theirs, ours = not published.endswith("+"), measured["converged"]
            if not ours:
                found["theirs" if theirs else "neither"] += 1
            elif not theirs:
                found["ours"] += 1
            else:
                away = abs(measured["iterations"] - int(published))
                found[str(away) if away < 3 else "more"] += 1
    columns, shown = sum(found.values()), len(tables)
    return (
        f"{columns} column{'s' * (columns != 1)} of {shown} table{'s' * (shown != 1)}: "
        f"{found['0']} with the published number of iterations, {found['1']} one away, "
        f"{found['2']} two away, {found['more']} further away; in {found['theirs']} only the paper's run converged "
        f"within {MAXITER}, in {found['ours']} only ours, in {found['neither']} neither."
    )


def _made(used: Sequence[dict[str, Any]]) -> str:
    dates = sorted({measured["made"]["date"] for measured in used})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    made = {
        name: ", ".join(sorted({measured["made"][name] for measured in used}))
        for name in ("daskmgrit", "dask", "numpy", "python", "cores")
    }
    minutes = sum(measured["seconds"] for measured in used) / 60
    return (
        f"Made by `daskmgrit paper` on {when}: daskmgrit {made['daskmgrit']}, dask {made['dask']}, "
        f"NumPy {made['numpy']}, Python {made['python']}, {made['cores']} cores; "
        f"{minutes:.{int(minutes < 10)}f} minutes of solving."
    )


def markdown_report(
    tables: Sequence[Table], figures: Sequence[Figure], store: Measurements, extra: Sequence[str], drawn: Sequence[str]
) -> str:
    """Return the report as Markdown.

    Parameters
    ----------
    tables, figures
        What was run.
    store : Measurements
        The measurements.
    extra : sequence of str
        Further sections (remarks, study).
    drawn : sequence of str
        File names of the figures.
    """
    lines = [
        TITLE,
        "",
        _made(list(store.columns.values())),
        "",
        'The paper is J. B. Schroder, "Parallelizing Over Artificial Neural Network Training Runs with Multigrid" '
        "(2022). Its random numbers are not known, so counts can agree within a few, not exactly; a count that differs "
        "is left so. *critical path* is the longest chain of Phi, counted in the task graph of the run; *sigma* is the "
        "paper's model of the same (equations 18 and 19) with the measured iterations; in equation (19) they count "
        "once, though as printed they would count in the sum again. Both are set against N, the serial chain. "
        "Equation (19) sums sigma_V over hierarchies of 1 to L-2 levels, where an F-cycle visits those of 2 to L: "
        "so for small N the counted path of F-cycles may be the longer one. Where a run did not converge, *difference* "
        "is a bound, and there is no speedup.",
        "",
        "## Summary",
        "",
        _summary(tables, store),
        "",
        "## Tables",
        "",
    ]
    lines += [_table(table, store) + "\n" for table in tables]
    if drawn:
        lines += ["## Figures", ""]
        for figure, name in zip(figures, drawn, strict=True):
            lines += [f"![Figure {figure.number}: {figure.caption}]({name})", ""]
    return "\n".join([*lines, *extra]).rstrip() + "\n"


def csv_report(tables: Sequence[Table], store: Measurements) -> str:
    """Return the report as CSV: a line per table, reading and column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "table",
            "reading",
            "N",
            "published_iterations",
            "published_rho",
            "iterations",
            "rho",
            "difference",
            "critical_path",
            "sigma",
            "n_over_critical_path",
            "n_over_sigma",
            "phi_evaluations",
            "seconds",
        ]
    )
    for table in tables:
        for reading in table.readings:
            for steps in table.columns:
                measured = store.get(reading, steps)
                if measured is None:
                    continue
                published, rho = table.published(steps)
                ours, sigma, speedup = _speedups(reading, measured, 4)
                writer.writerow(
                    [
                        table.number,
                        reading.label,
                        steps,
                        published,
                        rho,
                        iterations_text(measured),
                        rho_text(measured),
                        difference(published, measured),
                        measured["critical_path"],
                        sigma,
                        ours,
                        speedup,
                        sum(measured["phi_evaluations"]),
                        measured["seconds"],
                    ]
                )
    return out.getvalue()


def processors_section(table: Table, store: Measurements) -> str:
    """Remark 3: speedup against the number of processors, for the largest converged column of a V-cycle table.

    Empty if there is none.
    """
    reading = table.readings[0]
    columns = [steps for steps in table.columns if (found := store.get(reading, steps)) and found["converged"]]
    if not columns:
        return ""
    steps = columns[-1]
    measured = store.get(reading, steps)
    assert measured is not None
    rows = []
    for processors in [*itertools.takewhile(lambda p: p < steps // 2, (4**k for k in itertools.count())), steps // 2]:
        sigma = measured["iterations"] * sigma_v_on(measured["levels"], processors)
        ours = bounded_speedup(steps, sum(measured["phi_evaluations"]), measured["critical_path"], processors)
        rows.append([str(processors), f"{steps / sigma:.3f}", f"{ours:.3f}"])
    lines = [
        "## Remark 3: fewer processors than N/m",
        "",
        f"Table {table.number}, N = {steps}, {measured['iterations']} V-cycles. Speedup over serial training on P "
        "processors: by the paper's count with several intervals per processor, and by evaluations/P + critical path "
        "of the run, which a greedy schedule keeps within (Brent's theorem).",
        "",
        markdown_table(["P", "paper's count", "counted in the run"], rows),
        "",
    ]
    return "\n".join(lines)
