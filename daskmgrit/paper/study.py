"""Experiments in addition to the tables: Remarks 1 and 4, and why four-layer counts grow where the paper's do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from daskmgrit.paper.report import iterations_text, markdown_table
from daskmgrit.paper.run import Measurements
from daskmgrit.paper.tables import Reading, tables

__all__ = ["experiments", "sections"]

Experiment = tuple[str, Reading, int]

REMARK_STEPS = (100, 200, 400, 800, 1600)
STUDY_STEPS = (400, 1600)

# The paper's findings on each, for comparison.
NOTES = {
    "Remark 1": "The paper found injection to converge worse than the step's own number, and averaging better than "
    "injection. Here targets are averaged with the inputs. By source index (offset 0).",
    "Remark 4": "The paper found Solver 2 with constant alpha not to scale.",
    "Why four-layer counts grow": "One thing at a time is varied; what brings the growth down to the paper's is what "
    "the count depends on.",
}
PUBLISHED = {"Remark 1": 5, "Remark 4": 14, "Why four-layer counts grow": 18}


def _by_number(table: int) -> Reading:
    """Return the reading of a table in which a coarse step sees the example of its own number."""
    return next(reading for reading in tables()[table].readings if reading.injection == 1)


def _remarks() -> list[tuple[str, list[Reading]]]:
    serial = tables()[5].readings[0]
    adder = _by_number(14)
    by_number = replace(serial, label="training set by the step's own number (Solver 2)", offset=0)
    return [
        (
            "Remark 1: training sets of coarse levels, three-layer, two-level",
            [
                by_number,
                replace(by_number, label="injected from level 0", injection=2),
                replace(by_number, label="inputs and targets averaged over the fine steps", averaged=True),
            ],
        ),
        (
            "Remark 4: constant alpha with Solver 2, four-layer, two-level",
            [
                replace(adder, label="alpha doubled on level 1"),
                replace(adder, label="constant alpha", cap=adder.rate),
            ],
        ),
    ]


def _study() -> tuple[str, list[Reading]]:
    # Table 18 has the largest excess over counts that the paper prints as flat.
    base = replace(_by_number(18), label="Table 18 by the step's own number")
    variants = [base]
    variants += [replace(base, label=f"seed {seed}", seed=seed) for seed in (2, 3, 4, 5)]
    variants += [
        replace(base, label="initial weights halved", weight_scale=0.5),
        replace(base, label="initial weights doubled", weight_scale=2.0),
        replace(base, label="50 examples", examples=50),
        replace(base, label="2000 examples", examples=2000),
        replace(base, label="initial guess w0 everywhere", initial_guess="constant"),
        replace(base, label="nested initial guess", initial_guess="nested"),
        replace(base, label="source index (offset 0)", offset=0),
        replace(base, label="data injected from level 0", injection=2),
        replace(base, label="examples repeated on level 0 only", offset=(1, 0), fine_only=True),
    ]
    return "Why four-layer counts grow: variants of Table 18 (Solver 3, F-cycle)", variants


def _groups(remarks: bool, study: bool) -> list[tuple[str, list[Reading], Sequence[int]]]:
    groups: list[tuple[str, list[Reading], Sequence[int]]] = []
    if remarks:
        groups += [(title, readings, REMARK_STEPS) for title, readings in _remarks()]
    if study:
        groups.append((*_study(), STUDY_STEPS))
    return groups


def experiments(remarks: bool, study: bool, max_steps: int | None) -> list[Experiment]:
    """Return the experiments to run: name, settings, N."""
    return [
        (f"{title.split(':')[0]}, {reading.label}", reading, steps)
        for title, readings, columns in _groups(remarks, study)
        for reading in readings
        for steps in columns
        if max_steps is None or steps <= max_steps
    ]


def sections(store: Measurements) -> list[str]:
    """Return a Markdown section for each group of experiments that was run."""
    tabled = [reading.settings() for table in tables().values() for reading in table.readings]
    made = []
    for title, readings, columns in _groups(True, True):
        # A variant that is a table's reading too may be there without the others.
        own = [reading for reading in readings if reading.settings() not in tabled]
        shown = [steps for steps in columns if any(store.get(reading, steps) for reading in own)]
        if not shown:
            continue
        rows = []
        for reading in readings:
            found = [store.get(reading, steps) for steps in shown]
            rows.append([reading.label, *("" if cell is None else iterations_text(cell) for cell in found)])
        table = PUBLISHED.get(title.split(":")[0])
        if table is not None:
            printed = [tables()[table].published(steps)[0] for steps in shown]
            rows.append([f"the paper's Table {table}", *printed])
        head = ["variant", *(f"N = {steps}" for steps in shown)]
        made.append("\n".join([f"## {title}", "", NOTES[title.split(":")[0]], "", markdown_table(head, rows), ""]))
    return made
