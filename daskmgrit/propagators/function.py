"""A Phi for one state as a Phi for a block of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from daskmgrit.relaxation import Array

__all__ = ["vectorize"]


class vectorize:
    """Wrap ``phi(w, i, level) -> new w`` for one state w (s,) into a propagator for blocks (k, s).

    It loops, so it is as slow as the serial code; a phi that is batched in itself is worth writing.

    Parameters
    ----------
    phi : callable
        Takes weights (s,), the integer source step and the integer level; returns new weights (s,).

    Examples
    --------
    >>> import numpy as np
    >>> step = vectorize(lambda w, i, level: w - 0.1 * 2**level * w)
    >>> step(np.ones((2, 3)), np.arange(2), 0).shape
    (2, 3)
    """

    def __init__(self, phi: Callable[[Array, int, int], Any]) -> None:
        if not callable(phi):
            raise TypeError(f"phi={phi!r} is not callable: give a function phi(w, i, level) -> new w")
        self.phi = phi

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the wrapped phi to each state."""
        return np.stack([np.asarray(self.phi(w, int(i), level)) for w, i in zip(weights, index, strict=True)])

    def __repr__(self) -> str:
        return f"vectorize({self.phi!r})"

    def _repr_html_(self) -> str:
        from daskmgrit.notebook import function_view

        return function_view(self)
