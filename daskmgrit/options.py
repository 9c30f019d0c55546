"""Checks of option values: an error names the option, the value and the remedy."""

from __future__ import annotations

import math
import numbers
from typing import Any

import dask
from dask.utils import parse_bytes, parse_timedelta

__all__ = ["bytes_option", "integer_option", "number_option", "time_option"]


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
    raise ValueError(f"{name}={value!r} is not an integer {span}: {remedy}")


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
    raise ValueError(f"{name}={value!r} is out of range: {remedy}")


def time_option(name: str, value: Any, remedy: str) -> float:
    """Return a time in seconds, given as a number or as Dask writes it, such as "90s" or "5 minutes".

    Raises
    ------
    ValueError
        If it is anything else, or not above 0.

    Examples
    --------
    >>> time_option("timeout", "5 minutes", "")
    300.0
    """
    try:
        seconds = parse_timedelta(value) if isinstance(value, str) else value
    except (ValueError, KeyError):
        seconds = None
    return number_option(name, seconds if seconds is not None else value, remedy, above=0)


def bytes_option(name: str, least: int = 0) -> int:
    """Return a size in bytes that is set in ``dask.config``, as a number or as "2GB".

    Raises
    ------
    ValueError
        If it is anything else, or less than `least`.

    Examples
    --------
    >>> with dask.config.set({"daskmgrit.memory": "banana"}):
    ...     bytes_option("daskmgrit.memory")
    Traceback (most recent call last):
    ...
    ValueError: daskmgrit.memory in dask.config='banana' is not an amount of memory of at least 0 bytes: give e.g. 2GB
    """
    value = dask.config.get(name)
    try:
        size = -1 if isinstance(value, bool) else int(parse_bytes(value))
    except (ValueError, TypeError, OverflowError):
        size = -1
    if size < least:
        raise ValueError(
            f"{name} in dask.config={value!r} is not an amount of memory of at least {least} bytes: give e.g. 2GB"
        )
    return size
