"""The published tables, and the settings for each."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from daskmgrit.mgrit import MGRIT
from daskmgrit.problems import Problem, adder, xor

__all__ = ["Figure", "Reading", "Table", "figures", "tables"]


@dataclass(frozen=True)
class Reading:
    """One way to read a table's settings.

    Attributes
    ----------
    label : str
        Its difference from the table's other readings.
    problem : {"xor", "adder"}
        The network and its data.
    solver : str
        "naive", "1", "2" or "3".
    rate, cap : float
        alpha_b and alpha_max.
    two_level : bool
        The two-level method instead of the cycle.
    cycle : {"V", "F"}
        The cycle.
    offset, injection, averaged, repeats, fine_only
        See :meth:`daskmgrit.problems.Problem.propagator`.
    examples : int
        Training examples of the four-layer problem.
    seed : int
        Seed of the initial weights, and of the four-layer problem's data.
    weight_scale : float
        Factor on the initial weights.
    initial_guess : str
        The initial guess.
    """

    label: str
    problem: str
    solver: str
    rate: float
    cap: float | None = None
    two_level: bool = False
    cycle: str = "V"
    offset: int | tuple[int, ...] = 0
    injection: int = 1
    averaged: bool = False
    repeats: int = 1
    examples: int = 500
    seed: int = 1
    weight_scale: float = 1.0
    initial_guess: str = "zero"
    fine_only: bool = False

    def settings(self) -> dict[str, Any]:
        """Return all settings except the label, as JSON can hold them: the identity of a measurement."""
        settings = asdict(self)
        del settings["label"]
        if not self.fine_only:
            # Records made before there was this setting stay valid.
            del settings["fine_only"]
        if isinstance(self.offset, tuple):
            settings["offset"] = list(self.offset)
        return settings

    def make(self, steps: int) -> tuple[MGRIT, Problem]:
        """Return the solver of a column, and its problem."""
        problem = xor(self.seed) if self.problem == "xor" else adder(self.seed, self.examples)
        phi = problem.propagator(
            self.solver,
            self.rate,
            self.cap,
            offset=self.offset,
            injection=self.injection,
            averaged=self.averaged,
            fine_only=self.fine_only,
            repeats=self.repeats,
        )
        return MGRIT(phi, steps, max_levels=2 if self.two_level else None, cycle=self.cycle), problem


@dataclass(frozen=True)
class Table:
    """One of the paper's tables, as printed, and its readings; the first is printed next to the numbers in full."""

    number: int
    caption: str
    columns: list[int]
    iterations: list[str]
    rho: list[str]
    readings: list[Reading]
    note: str = ""

    def published(self, steps: int) -> tuple[str, str]:
        """Return iterations and rho of a column, as printed."""
        place = self.columns.index(steps)
        return self.iterations[place], self.rho[place]


@dataclass(frozen=True)
class Figure:
    """One of the paper's speedup figures: the tables that it is drawn from."""

    number: int
    caption: str
    tables: list[int] = field(default_factory=list)


@functools.cache
def _file() -> dict[str, Any]:
    path = Path(__file__).with_name("published.yaml")
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def _reading(entry: dict[str, Any]) -> Reading:
    offset = entry.get("offset", 0)
    return Reading(**{**entry, "offset": tuple(offset) if isinstance(offset, list) else offset})


def tables() -> dict[int, Table]:
    """Return the tables by number.

    Examples
    --------
    >>> tables()[1].published(400)
    ('24', '0.48')
    """
    found = {}
    for entry in _file()["tables"]:
        fields = {**entry, "columns": _file()["columns"][entry["columns"]]}
        fields["readings"] = [_reading(reading) for reading in entry["readings"]]
        found[entry["number"]] = Table(**fields)
    return found


def figures() -> list[Figure]:
    """Return the speedup figures."""
    return [Figure(**entry) for entry in _file()["figures"]]
