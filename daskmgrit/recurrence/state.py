"""The initial state of a recurrence, as a user gives it."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskmgrit.utils.array_api import is_array, to_host

__all__ = ["check_w0"]


def check_w0(w0: Any) -> np.ndarray:
    """Return w0 as a floating-point vector in host memory."""
    start = np.array(to_host(w0) if is_array(w0) else w0)
    if start.dtype.kind in "iub":
        start = start.astype(np.float64)
    if start.dtype.kind not in "fc":
        raise ValueError(f"w0 has dtype {start.dtype}: give a vector of floating-point numbers")
    if start.ndim != 1 or not start.size:
        raise ValueError(
            f"w0 has shape {start.shape}: give all weights as one flat vector of shape (s,), s >= 1, e.g. w0.ravel()"
        )
    if not np.isfinite(start).all():
        raise ValueError(f"w0 holds nan or inf at entry {int(np.argmin(np.isfinite(start)))}: give finite weights")
    return start
