"""Times and sizes as users write them: seconds or "5 min", bytes or "2GB"."""

from __future__ import annotations

import re
from typing import Any

from dask.utils import parse_bytes, parse_timedelta

from daskmgrit.utils.config import setting
from daskmgrit.utils.validation import number_option

__all__ = ["TIMES", "bytes_option", "nbytes", "seconds", "time_option", "time_setting"]

# The form of a time, for errors.
TIMES = 'it is a time in seconds, or e.g. "5min"'


def seconds(value: Any) -> float:
    """Return a time in seconds, given as a number or as a text: "90", "250ms", "5 min", "1h".

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> seconds(2), seconds("1e-3"), seconds("5min"), seconds("1 hour")
    (2.0, 0.001, 300.0, 3600.0)
    """
    try:
        if not isinstance(value, str):
            return float(value)
        # Dask has "m" and "minutes", but not what most write.
        text = re.sub(r"(?<![a-z])mins?$", "minutes", value.strip())
        # Dask would read a unit alone as one of it, and .5 as 1.5.
        return float(parse_timedelta(text)) if text[:1].isdigit() else float(text)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ValueError(f"{value!r} is not a time: give seconds, or e.g. 250ms or 5min") from None


def nbytes(value: Any) -> int:
    """Return a size in bytes, given as a number or as a text: "4096", "100kB", "1.5 GiB".

    Raises
    ------
    ValueError
        If it is anything else, or negative.

    Examples
    --------
    >>> nbytes("100kB"), nbytes("1.5 GiB"), nbytes(8)
    (100000, 1610612736, 8)
    """
    try:
        # Dask would read a unit alone as one of it.
        if isinstance(value, str) and not re.match(r"\s*[\d.]", value):
            raise ValueError
        if isinstance(value, bool) or (size := int(parse_bytes(value))) < 0:
            raise ValueError
        return size
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise ValueError(f"{value!r} is not an amount of memory: give bytes, or e.g. 100kB or 16GB") from None


def time_option(name: str, value: Any, remedy: str = TIMES) -> float:
    """Return the time in seconds that an option is set to, as :func:`seconds` reads it.

    Raises
    ------
    ValueError
        If it is anything else, or not above 0; the message names the option.

    Examples
    --------
    >>> time_option("timeout", "5 minutes")
    300.0
    """
    try:
        number = seconds(value) if isinstance(value, str) else value
    except ValueError:
        number = value
    return number_option(name, number, remedy, above=0)


def time_setting(name: str) -> float:
    """Return the time in seconds that is set in ``dask.config``, above 0.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    return time_option(f"{name} in dask.config", setting(name))


def bytes_option(name: str, least: int = 0) -> int:
    """Return a size in bytes that is set in ``dask.config``, as :func:`nbytes` reads it.

    Raises
    ------
    ValueError
        If it is anything else, or less than `least`.

    Examples
    --------
    >>> import dask
    >>> with dask.config.set({"daskmgrit.memory": "banana"}):
    ...     bytes_option("daskmgrit.memory")
    Traceback (most recent call last):
    ...
    ValueError: daskmgrit.memory in dask.config='banana' is not an amount of memory of at least 0 bytes: give e.g. 2GB
    """
    value = setting(name)
    try:
        size = nbytes(value)
    except ValueError:
        size = -1
    if size < least:
        raise ValueError(
            f"{name} in dask.config={value!r} is not an amount of memory of at least {least} bytes: give e.g. 2GB"
        )
    return size


def size_in_words(number: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:.0f} B"


def time_in_words(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("s", 1, 1), ("ms", 1e-3, 1)):
        if seconds >= least * size:
            # Not in powers of ten.
            return f"{float(f'{seconds / size:.3g}'):g} {unit}"
    return f"{seconds * 1e6:.3g} us"
