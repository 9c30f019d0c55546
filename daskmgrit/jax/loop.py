"""An existing JAX training loop as a propagator: the function for the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from daskmgrit.coarse.long_steps import long_steps
from daskmgrit.jax.propagator import JaxPropagator
from daskmgrit.models.data import DataRule
from daskmgrit.recurrence.step_length import StepLength

__all__ = ["propagator"]


def propagator(
    loss: Callable[..., Any],
    params: Any,
    optimizer: Any,
    data: Any = None,
    *,
    batch: int | DataRule | None = None,
    opt_state: Any = None,
    coarsening: int | Sequence[int] = 2,
    cap: int | None = None,
    coarse: str | Sequence[str] = "capped",
    max_rate: float | None = None,
    steps: int | None = None,
    rank: int | None = None,
    dtype: Any = None,
    device: str | None = None,
) -> JaxPropagator:
    """Make a propagator of a JAX training loop: one step of an optax transformation on a loss.

    Parameters
    ----------
    loss : callable
        ``loss(params, inputs, targets)``, one number, if `data` are a pair; ``loss(params, data)`` if they are another
        pytree; ``loss(params)`` without data. It may be jitted.
    params : pytree of arrays
        The initial parameters, for example those of a Flax or Haiku network.
    optimizer : optax.GradientTransformation
        Any optimizer whose state holds real numbers, and counts of steps: SGD, Adam, AdamW, chains with clipping,
        schedules …
    data : tuple or pytree of arrays, optional
        ``(inputs, targets)``, or what the loss takes.
    batch : int or data rule, optional
        Examples per step, taken in turn, or a rule of :mod:`daskmgrit.models`. By default all examples.
    opt_state : pytree, optional
        The optimizer's state to start from, by default ``optimizer.init(params)``.
    coarsening : int or list of int, default 2
        The solver's.
    cap : int, optional
        Maximum number of fine steps that a coarse step takes at once, see Notes.
    coarse : str or sequence of str, default "capped"
        With "chebyshev" or "substeps" coarse steps of plain gradient descent have their full length, in several stages
        (Solver 4), see :class:`daskmgrit.coarse.CoarseRule`. With batches, `batch` is then best a
        :class:`daskmgrit.models.Window`. With "deflated" they take one gradient, and the curvatures that are found
        here; ``phi.rough_guess(steps)`` is then a good initial guess.
    max_rate : float, optional
        alpha_max of these steps, the largest stable rate; by default estimated along the first 64 steps.
    steps : int, optional
        With "deflated": N, the steps along which curvatures are found, those of the mean gradient of at most 128 steps.
    rank : int, optional
        With "deflated": the number of curvatures, by default 32.
    dtype : dtype, optional
        float32 or float64, by default that of the parameters.
    device : str, optional
        "cpu", "cuda" or another platform of JAX; by default the worker's first device. States stay there.

    Returns
    -------
    JaxPropagator
        ``phi.w0`` is the state to start from, ``phi.params(result.final)`` the trained parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or the optimizer's state holds an entry that is not available at all steps at
        once.
    PropagatorError
        If JAX cannot differentiate or vectorise the loss.

    Notes
    -----
    A coarse step of level l is ``M = min(m**l, cap)`` updates of the optimizer with one gradient, each with the count,
    and so the learning rate, of its own fine step. For SGD that is M times the rate: `cap` is alpha_max over alpha_b of
    the paper's equation 14.

    No argument is donated, so a block stays whole while a step is computed from it. A process that receives a float64
    propagator switches double precision on. A process that makes one must have switched it on.

    Examples
    --------
    >>> import jax.numpy as jnp, optax
    >>> import daskmgrit as dm
    >>> import daskmgrit.jax
    >>> x = jnp.linspace(0, 1, 20)
    >>> def loss(params, x, y):
    ...     return jnp.mean((params["a"] * x + params["b"] - y) ** 2)
    >>> start = {"a": jnp.zeros(()), "b": jnp.zeros(())}
    >>> phi = daskmgrit.jax.propagator(loss, start, optax.sgd(0.05, momentum=0.5), (x, 2 * x - 1))
    >>> result = dm.MGRIT(phi, 64).solve(phi.w0, "constant", tol=1e-5)
    >>> result.reason, phi.loss(result.final) < 0.2 * phi.loss(phi.w0)
    ('tol', True)
    """
    length = StepLength(coarsening, cap)
    phi = JaxPropagator(loss, params, optimizer, data, batch, opt_state, length, dtype, device)
    phi.long = long_steps(phi, coarse, max_rate, cap, steps, rank)
    return phi
