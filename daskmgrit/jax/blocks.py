"""Blocks of states: of few sizes, at once or in groups whose intermediate results stay in a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["few_sizes", "group_size", "over_block", "padded"]

# Part of a processor's cache for all states of a group with their largest intermediate result. XLA computes a
# layer for all of a block, then the next: beyond that each waits for memory.
CACHE = 2**21


def group_size(function: Callable[..., Any], *arguments: Any) -> int:
    """Return the number of states to compute at a time with a function of one state, a power of two.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> group_size(lambda w, x: (x @ w).sum(), jnp.ones(10, "float32"), jnp.ones((2**12, 10), "float32"))
    128
    """
    largest = max(1, *_sizes(jax.make_jaxpr(function)(*arguments).jaxpr))
    # Some at least, so that small results are computed for several.
    return max(4, 1 << int(CACHE // largest).bit_length() >> 1)


def _sizes(jaxpr: Any) -> Iterator[int]:
    """Yield the bytes of each intermediate result."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval.size * variable.aval.dtype.itemsize
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _sizes(inner)


def over_block(
    one: Callable[..., Any], group: int | None, weights: Any, numbers: Any, data: tuple[Any, ...], *steps: Any
) -> Any:
    """Call a function of a state and its data for a block.

    Parameters
    ----------
    one : callable
        ``one(state, *steps, *data)``.
    group : int or None
        States at a time; None for all.
    weights : Array, shape (k, s)
        The states.
    numbers : Array, shape (k, b), or None
        The examples of each; None for all.
    data : tuple
        All data.
    steps : Array, shape (k,), and int
        Their numbers and length, or nothing.
    """
    own, common = steps[:1], steps[1:]

    def row(state: Any, chosen: Any, *number: Any) -> Any:
        parts = data if chosen is None else jax.tree.map(lambda leaf: leaf[chosen], data)
        return one(state, *number, *common, *parts)

    arguments = (weights, numbers, *own)
    if group is None or weights.shape[0] <= group:
        return jax.vmap(row, in_axes=(0, None if numbers is None else 0, *(0 for _ in own)))(*arguments)
    return jax.lax.map(lambda given: row(*given), arguments, batch_size=group)


def few_sizes(compute: Callable[..., Any], place: Any, *rows: Any) -> Any:
    """Call a compiled function on blocks padded to one of few sizes, and cut off the padding.

    Parameters
    ----------
    compute : callable
        Takes as many blocks and returns one, of JAX.
    place : jax.Device or None
        Where to compute on NumPy states; None for JAX's own choice.
    *rows : Array, shape (k, …)
        The states, whose library is that of the result; and further rows for each of them.
    """
    count, on_host = rows[0].shape[0], isinstance(rows[0], np.ndarray)
    states, *others = map(_filled_up, rows)
    if on_host and place is not None:
        states = jax.device_put(states, place)
    computed = compute(states, *others)
    if on_host:
        # Of its own memory: JAX may return what it was given, and what it returns cannot be written to.
        return np.array(np.asarray(computed)[:count])
    return computed if computed.shape[0] == count else computed[:count]


def _filled_up(rows: Any) -> Any:
    more = padded(rows.shape[0]) - rows.shape[0]
    if not more:
        return rows
    xp = np if isinstance(rows, np.ndarray) else jnp
    return xp.pad(rows, ((0, more), *[(0, 0)] * (rows.ndim - 1)), mode="edge")


def padded(count: int) -> int:
    """Return the number of states to compute for `count` wanted: one of few sizes, because each is compiled."""
    unit = 1 << max(count.bit_length() - 3, 0) if count > 64 else 1 << (count - 1).bit_length()
    return -(-count // unit) * unit
