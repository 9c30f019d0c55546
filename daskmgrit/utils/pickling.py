"""Pickling of what a user gives, with an error in words where that fails."""

from __future__ import annotations

from typing import Any

import cloudpickle

from daskmgrit.errors import PropagatorError

__all__ = ["check_picklable"]


def check_picklable(phi: Any) -> bytes:
    """Return the pickled propagator.

    Raises
    ------
    PropagatorError
        If it cannot be pickled.
    """
    try:
        return bytes(cloudpickle.dumps(phi))
    except Exception as error:
        raise PropagatorError(
            f"phi={phi!r} cannot be pickled, so it cannot be sent to workers: {type(error).__name__}: {error}. Open "
            "files, locks and connections inside phi when it is first called, not before"
        ) from error
