"""The values that options of the commands take: one click type for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from daskmgrit.utils.units import nbytes, seconds

__all__ = [
    "ACCEPTED",
    "AT_LEAST_1",
    "BYTES",
    "CHUNKS",
    "CYCLE",
    "RATE",
    "RELAXATION",
    "SECONDS",
    "SEED",
    "SLOTS",
    "STEPS",
    "TOLERANCE",
    "WAIT",
    "PerLevel",
]

CYCLE = click.Choice(["V", "F"], case_sensitive=False)
SEED = click.IntRange(0, 2**32 - 1)
STEPS = click.IntRange(min=1)


class Finite(click.FloatRange):
    """A number within a range, neither inf nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Seconds(click.ParamType):
    """A time, as ``5``, ``250ms`` or ``5min``; it becomes a float, in seconds."""

    name = "time"

    def __init__(self, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time in seconds."""
        try:
            number = seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        # Beyond that a sum of times is not exact to the second.
        if not 0 <= number < 1e15 or (self._above_zero and not number):
            least = "more than 0" if self._above_zero else "at least 0"
            self.fail(f"{value!r} is out of range: give {least} seconds, or e.g. 250ms or 5min", param, ctx)
        return number


class Bytes(click.ParamType):
    """A size, as ``4096``, ``100kB`` or ``16GB``; it becomes an int, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        try:
            size = nbytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return size


class PerLevel(click.ParamType):
    """One value, or a comma-separated list with one for each level; it becomes a tuple.

    Parameters
    ----------
    convert : callable
        Makes a value of its text, or raises ValueError.
    single : bool, default False
        Whether to return a single value as it is, not in a tuple.
    """

    name = "list"

    def __init__(self, convert: Callable[[str], Any], single: bool = False) -> None:
        self._convert, self._single = convert, single

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values."""
        if not isinstance(value, str):
            return value
        try:
            values = tuple(self._convert(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: give one value, or several with commas, one per level", param, ctx)
        return values[0] if self._single and len(values) == 1 else values


class Count(click.ParamType):
    """A number of chunks or slots, at least 1, or ``auto``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or "auto"."""
        if value == "auto":
            return "auto"
        try:
            count = int(value)
        except ValueError:
            count = 0
        if count < 1:
            self.fail(f'{value!r}: give "auto" or a number of {self.name}, at least 1', param, ctx)
        return count


class Accepted(click.ParamType):
    """Steps that a sweep accepts: a number, or ``8:2.5,16:3.1``, by slots; that becomes a dict."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | dict[int, float]:
        """Return the steps."""
        if not isinstance(value, str) or ":" not in value:
            return AT_LEAST_1.convert(value, param, ctx)
        try:
            pairs = (part.split(":") for part in value.split(","))
            found = {int(slots): float(steps) for slots, steps in pairs}
        except ValueError:
            self.fail(f"{value!r}: give a number, or steps by slots of the window as 8:2.5,16:3.1", param, ctx)
        return found


def _relaxation(text: str) -> str | int:
    return int(text) if text.isdigit() else text


# A learning rate.
RATE = Finite(min=0, min_open=True)
TOLERANCE, AT_LEAST_1 = Finite(min=0), Finite(min=1)
ACCEPTED = Accepted()
SECONDS, WAIT = Seconds(), Seconds(above_zero=True)
BYTES = Bytes()
CHUNKS, SLOTS = Count("chunks"), Count("slots")
RELAXATION = PerLevel(_relaxation, single=True)
