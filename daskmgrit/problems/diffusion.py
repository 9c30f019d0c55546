"""Evolution problems besides training: the heat equation and the Brusselator with diffusion, in one dimension.

Both take steps of length ``m**level * dt`` on level l, implicit in the diffusion. A state holds the values at the
interior points of a uniform grid. Its size gives their number: a level may have a coarser grid, with
:class:`GridTransfer` in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Brusselator", "GridTransfer", "HeatEquation"]

Array = NDArray


class _Diffusion:
    """Backward Euler for ``u_t = a*u_xx`` on the interior points of ``[0, length]``, any right-hand side.

    Parameters
    ----------
    points : int
        Points of the finest grid, both ends included.
    steps : int
        N.
    length, duration : float
        Extents in space and time.
    diffusivity : float
        a.
    coarsening : int or list of int
        The solver's.
    """

    pure = True

    def __init__(
        self,
        points: int,
        steps: int,
        length: float,
        duration: float,
        diffusivity: float,
        coarsening: int | Sequence[int],
    ) -> None:
        self.points = integer_option("points", points, 3, "it is the number of points of the grid, ends included")
        self.steps = integer_option("steps", steps, 1, "it is the number of time steps")
        self.length = number_option("length", length, "it is the domain's length", above=0)
        self.duration = number_option("duration", duration, "it is the time to reach", above=0)
        self.diffusivity = number_option("diffusivity", diffusivity, "it is positive", above=0)
        self.step_length = StepLength(coarsening)
        self._known: dict[tuple[int, int], tuple[Array, Array]] = {}

    def dt(self, level: int = 0) -> float:
        """Return the step of a level."""
        return self.duration / self.steps * self.step_length(level)

    def grid(self, count: int | None = None) -> Array:
        """Return the interior points, by default of the finest grid; `count` of them."""
        count = self.points - 2 if count is None else count
        return self.length * np.arange(1, count + 1) / (count + 1)

    def _solve(self, rows: Array, level: int) -> Array:
        """Solve ``(1 - dt*a*d2/dx2) u = rows`` with u = 0 at both ends, for rows (k, n)."""
        share, pivots = self._factors(rows.shape[1], level)
        # Gauss elimination for all rows at once; a row's bits do not depend on how many there are.
        u = rows.T / pivots[:, None]
        for i in range(1, len(u)):
            u[i] += share[i] * u[i - 1]
        for i in range(len(u) - 2, -1, -1):
            u[i] += share[i] * u[i + 1]
        return np.ascontiguousarray(u.T)

    def _factors(self, n: int, level: int) -> tuple[Array, Array]:
        """Return the pivots of the tridiagonal matrix, and its off-diagonal (of opposite sign) over them."""
        if (n, level) not in self._known:
            ratio = self.dt(level) * self.diffusivity * ((n + 1) / self.length) ** 2
            pivots = np.full(n, 1 + 2 * ratio)
            for i in range(1, n):
                pivots[i] -= ratio * ratio / pivots[i - 1]
            self._known[n, level] = ratio / pivots, pivots
        return self._known[n, level]


class GridTransfer:
    """Takes states to a grid of half as many intervals and back: full weighting, linear interpolation.

    A grid has an odd number of interior points; its ends are held at zero, or at values that both grids share, so that
    corrections are zero there.

    Parameters
    ----------
    parts : int, default 1
        Functions on the grid that a state holds one after another (two for :class:`Brusselator`).

    Examples
    --------
    >>> transfer = GridTransfer()
    >>> transfer.restrict(np.array([[1.0, 2.0, 3.0]]), 0)
    array([[2.]])
    >>> transfer.interpolate(np.array([[2.0]]), 0)
    array([[1., 2., 1.]])
    """

    def __init__(self, parts: int = 1) -> None:
        self.parts = integer_option("parts", parts, 1, "it is the number of functions that a state holds")

    def restrict(self, weights: Array, level: int) -> Array:
        """Return the states on the coarser grid."""
        k, size = weights.shape
        fine = weights.reshape(k, self.parts, size // self.parts)
        if fine.shape[2] % 2 == 0 or fine.shape[2] < 3 or size % self.parts:
            raise ValueError(
                f"a grid of {fine.shape[2]} interior points (level {level}) cannot be halved: use 2**j - 1 interior "
                "points, or fewer levels with a transfer"
            )
        coarse = 0.25 * (fine[:, :, :-2:2] + fine[:, :, 2::2]) + 0.5 * fine[:, :, 1::2]
        return coarse.reshape(k, -1)

    def interpolate(self, weights: Array, level: int) -> Array:
        """Return the states on the finer grid."""
        k, size = weights.shape
        coarse = weights.reshape(k, self.parts, size // self.parts)
        ends = np.zeros((k, self.parts, 1), weights.dtype)
        between = 0.5 * (np.concatenate((ends, coarse), axis=2) + np.concatenate((coarse, ends), axis=2))
        fine = np.empty((k, self.parts, 2 * coarse.shape[2] + 1), weights.dtype)
        fine[:, :, 1::2], fine[:, :, ::2] = coarse, between
        return fine.reshape(k, -1)


class HeatEquation(_Diffusion):
    """The heat equation ``u_t = u_xx + f`` by backward Euler and central differences, as a propagator.

    ``f = -sin(pi*x) * (sin(t) - pi**2 * cos(t))``, u = 0 at both ends, ``u(x, 0) = sin(pi*x)``: the solution is
    ``sin(pi*x) * cos(t)``.

    Parameters
    ----------
    points : int, default 1001
        Points in space, both ends included.
    steps : int, default 64
        N, steps in time.
    length : int, default 1
        The domain is ``[0, length]``.
    duration : float, default 2
        The time to reach.
    coarsening : int or list of int, default 2
        The solver's: a step of level l is ``m**l * duration/steps`` long.

    Attributes
    ----------
    w0 : ndarray, shape (points-2,)
        The initial state.

    References
    ----------
    .. [1] J. Hahne, S. Friedhoff, M. Bolten, "PyMGRIT: A Python Package for the Parallel-in-Time Method MGRIT", ACM
       Transactions on Mathematical Software 47(2), 2021: this problem is the package's first example.

    Examples
    --------
    >>> import daskmgrit as dm
    >>> heat = HeatEquation(points=17, steps=64)
    >>> result = dm.MGRIT(heat, heat.steps, cycle="F").solve(heat.w0)
    >>> bool(abs(result.final - heat.exact(2.0)).max() < 0.02)
    True
    """

    def __init__(
        self,
        points: int = 1001,
        steps: int = 64,
        length: int = 1,
        duration: float = 2.0,
        coarsening: int | Sequence[int] = 2,
    ) -> None:
        length = integer_option("length", length, 1, "u is zero at both ends, so it is an integer")
        super().__init__(points, steps, length, duration, 1.0, coarsening)
        self.w0 = self.exact(0.0)

    def exact(self, time: float, count: int | None = None) -> Array:
        """Return the differential equation's solution on the grid."""
        return np.sin(np.pi * self.grid(count)) * np.cos(time)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one time step."""
        dt = self.dt(level)
        time = (index + 1) * dt
        source = np.sin(np.pi * self.grid(weights.shape[1])) * (np.pi**2 * np.cos(time) - np.sin(time))[:, None]
        return self._solve(weights + dt * source, level)


class Brusselator(_Diffusion):
    """The Brusselator with diffusion, a non-linear reaction of two substances, as a propagator.

    ``u_t = 1 + u**2*v - 4*u + a*u_xx``, ``v_t = 3*u - u**2*v + a*v_xx`` on [0, 1], u = 1 and v = 3 at both ends,
    ``u(x, 0) = 1 + sin(2*pi*x)``, ``v(x, 0) = 3``. Diffusion is implicit, the reaction explicit.

    Parameters
    ----------
    points : int, default 33
        Points in space, both ends included.
    steps : int, default 1000
        N, steps in time.
    duration : float, default 2
        The time to reach.
    diffusivity : float, default 0.02
        a.
    coarsening : int or list of int, default 2
        The solver's: a step of level l is ``m**l * duration/steps`` long.

    Attributes
    ----------
    w0 : ndarray, shape (2*(points-2),)
        The initial state: u, then v.

    References
    ----------
    .. [1] E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II", Springer 1996, section IV.10, "BRUSS".
    """

    def __init__(
        self,
        points: int = 33,
        steps: int = 1000,
        duration: float = 2.0,
        diffusivity: float = 0.02,
        coarsening: int | Sequence[int] = 2,
    ) -> None:
        super().__init__(points, steps, 1.0, duration, diffusivity, coarsening)
        x = self.grid()
        self.w0 = np.concatenate((1 + np.sin(2 * np.pi * x), np.full(x.size, 3.0)))

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one time step."""
        dt, n = self.dt(level), weights.shape[1] // 2
        u, v = weights[:, :n], weights[:, n:]
        turned = u * u * v
        # u - 1 and v - 3 are zero at both ends, as the solver wants.
        new_u = self._solve(u - 1 + dt * (1 + turned - 4 * u), level) + 1
        new_v = self._solve(v - 3 + dt * (3 * u - turned), level) + 3
        return np.concatenate((new_u, new_v), axis=1)
