"""Checks of option values: an error names the option, the value and the remedy."""

from __future__ import annotations

import inspect
import math
import numbers
from typing import Any

__all__ = ["brief", "callable_option", "integer_option", "number_option", "switch_option"]


def brief(value: Any) -> str:
    """Return a value of any kind for an error message, in one line.

    Examples
    --------
    >>> brief(len), len(brief(list(range(99))))
    ('<built-in function len>', 60)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def callable_option(name: str, value: Any, count: int, remedy: str) -> None:
    """Check that `value` can be called with `count` arguments by place, as far as its signature tells.

    Raises
    ------
    TypeError
        If it cannot.

    Examples
    --------
    >>> callable_option("loss", lambda w, x: 0.0, 1, "give a function of the final weights")
    Traceback (most recent call last):
    ...
    TypeError: loss=<lambda> takes (w, x), not 1 argument: give a function of the final weights
    """
    if not callable(value):
        raise TypeError(f"{name}={brief(value)} is not callable: {remedy}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # of a function that is not Python's
    try:
        signature.bind(*[None] * count)
    except TypeError:
        own = getattr(value, "__name__", brief(value))
        raise TypeError(f"{name}={own} takes {signature}, not {count} argument{'s' * (count > 1)}: {remedy}") from None


def integer_option(name: str, value: Any, least: int, remedy: str, most: int | None = None) -> int:
    """Return `value` as an int between `least` and `most`.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> integer_option("steps", 0, 1, "it is the number of training steps")
    Traceback (most recent call last):
    ...
    ValueError: steps=0 is not an integer of at least 1: it is the number of training steps
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= least and (most is None or number <= most):
            return number
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={brief(value)} is not an integer {span}: {remedy}")


def number_option(
    name: str, value: Any, remedy: str, above: float = -math.inf, below: float = math.inf, least: float = -math.inf
) -> float:
    """Return `value` as a finite float, more than `above`, less than `below` and at least `least`.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = float(value)
        if above < number < below and number >= least:
            return number
    raise ValueError(f"{name}={brief(value)} is out of range: {remedy}")


def switch_option(name: str, value: Any, remedy: str) -> None:
    """Check that `value` is True or False: a text is true, whatever it says.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> switch_option("progress", "off", "True shows a line per cycle")
    Traceback (most recent call last):
    ...
    ValueError: progress='off' is neither True nor False: True shows a line per cycle
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={brief(value)} is neither True nor False: {remedy}")
