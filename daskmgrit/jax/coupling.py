"""Whether an optax update moves each entry by its own gradient alone, as its jaxpr shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["is_elementwise", "plain_rate"]

# Primitives of JAX whose results have, entry by entry, what their operands have there.
_ELEMENTWISE = frozenset(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p cos cosh
    digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max
    min mul ne neg nextafter not optimization_barrier or pow real reduce_precision rem round rsqrt select_n sign sin
    sinh sqrt square stop_gradient sub tan tanh xor
    """.split()  # noqa: SIM905
)
# Primitives that run a jaxpr of their own once, and the parameter which holds it.
_CALLS = {
    "pjit": "jaxpr",
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
}

# The leaves that a value depends on, by number; none for what is the same for every state.
_Origins = frozenset[int]


class _Coupled(Exception):
    """Entries meet."""


def is_elementwise(update: Callable[[Any, Any, Any], Any], params: Any, opt_state: Any) -> bool:
    """Return whether no entry of the new parameters and optimizer's state depends on another entry's gradient or value.

    The answer is False if this cannot be shown: for reductions such as norms, reshaping, and learning rates in the
    state.

    Parameters
    ----------
    update : callable
        ``update(gradients, opt_state, params) -> (params, opt_state)``.
    params, opt_state : pytree of arrays
        Parameters and optax state.
    """
    closed = jax.make_jaxpr(update)(params, opt_state, params)
    leaves, states = jax.tree.leaves(params), jax.tree.leaves(opt_state)
    # Gradients go with their parameters; counts of steps are the same for every state.
    numbers = [frozenset((n,)) for n in range(len(leaves))]
    of_state = [
        frozenset((len(leaves) + n,)) if jnp.issubdtype(leaf.dtype, jnp.floating) else _Origins()
        for n, leaf in enumerate(states)
    ]
    try:
        found = _follow(closed.jaxpr, [*numbers, *of_state, *numbers])
    except _Coupled:
        return False
    groups = _joined([own | origins for own, origins in zip([*numbers, *of_state], found, strict=True)])
    return all(sum(number < len(leaves) for number in group) <= 1 for group in groups)


def plain_rate(update: Callable[[Any, Any, Any], Any], params: Any, opt_state: Any) -> float | None:
    """Return the learning rate if an update is plain gradient descent at one rate for any gradient; else None.

    Parameters
    ----------
    update : callable
        ``update(gradients, opt_state, params) -> (params, opt_state)``.
    params, opt_state : pytree of arrays
        Parameters and optax state.
    """
    if jax.tree.leaves(opt_state):
        return None
    ones = jax.tree.map(jnp.ones_like, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    kept = update(zeros, opt_state, ones)[0]
    if not all(jax.tree.leaves(jax.tree.map(lambda new, old: bool((new == old).all()), kept, ones))):
        return None
    rates = []
    # Clipping would tell small gradients from large ones.
    for size in (1e-3, 1.0, 1e3):
        gradients = jax.tree.map(lambda leaf: size * _spread(leaf), params)  # noqa: B023
        after = update(gradients, opt_state, zeros)[0]
        rates += jax.tree.leaves(jax.tree.map(lambda new, gradient: (-new / gradient).ravel(), after, gradients))
    every = jnp.concatenate(rates)
    rate, slack = float(every[0]), 16 * float(jnp.finfo(every.dtype).eps)
    return rate if rate > 0 and bool((jnp.abs(every - rate) <= slack * rate).all()) else None


def _spread(leaf: Any) -> Any:
    """Return numbers of both signs around 1, as many as a leaf has."""
    signs = 1 - 2 * (jnp.arange(leaf.size) % 2)
    return (signs * jnp.linspace(0.5, 2.0, leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)


def _joined(sets: Sequence[_Origins]) -> list[_Origins]:
    """Return the sets with those that meet united."""
    groups: list[_Origins] = []
    for each in sets:
        apart = [group for group in groups if not group & each]
        groups = [*apart, each.union(*(group for group in groups if group & each))]
    return groups


def _follow(jaxpr: Any, given: Sequence[_Origins]) -> list[_Origins]:
    """Return the origins of a jaxpr's results.

    Raises
    ------
    _Coupled
        If entries meet on the way.
    """
    known: dict[Any, _Origins] = dict(zip(jaxpr.invars, given, strict=True))

    def origins(atom: Any) -> _Origins:
        # A literal has a value of its own.
        return _Origins() if hasattr(atom, "val") else known.get(atom, _Origins())

    for equation in jaxpr.eqns:
        operands = [origins(atom) for atom in equation.invars]
        name = equation.primitive.name
        if not any(operands):
            made = [_Origins()] * len(equation.outvars)
        elif name in _CALLS:
            made = _follow(_open(equation.params[_CALLS[name]]), operands)
        elif name == "cond" and not operands[0]:
            branches = [_follow(_open(branch), operands[1:]) for branch in equation.params["branches"]]
            made = [_Origins().union(*each) for each in zip(*branches, strict=True)]
        elif name in _ELEMENTWISE:
            shapes = {atom.aval.shape for atom, own in zip(equation.invars, operands, strict=True) if own}
            if shapes != {equation.outvars[0].aval.shape}:
                raise _Coupled
            made = [_Origins().union(*operands)] * len(equation.outvars)
        else:
            raise _Coupled
        known.update(zip(equation.outvars, made, strict=True))
    return [origins(atom) for atom in jaxpr.outvars]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)
