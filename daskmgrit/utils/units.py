"""Times and sizes as users write them: seconds or "5 minutes", bytes or "2GB"."""

from __future__ import annotations

from typing import Any

import dask
from dask.utils import parse_bytes, parse_timedelta

from daskmgrit.utils.validation import number_option

__all__ = ["bytes_option", "time_option"]


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
