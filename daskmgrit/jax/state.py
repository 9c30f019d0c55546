"""Parameters and an optax state as one vector, and the counts of steps in an optax state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from daskmgrit.recurrence.moments import least_second_moment

__all__ = ["PytreeMap", "adam_betas", "check_counts", "host"]

# Names that optax gives to sums of squares: their roots are in the vector, so that what MGRIT adds leaves them positive
# and a residual says the same of them as of gradients.
_SQUARES = frozenset({"nu", "nu_max", "sum_of_squares", "grad_sum_of_squares"})


def host(tree: Any) -> Any:
    """Return a tree with its leaves as NumPy arrays, which can be sent."""
    return jax.tree.map(np.asarray, tree)


def _is_square(path: Sequence[Any]) -> bool:
    return any(getattr(key, "name", None) in _SQUARES for key in path)


class PytreeMap:
    """How parameters and an optax state lie in a vector.

    Parameters
    ----------
    params, opt_state : pytree of ndarray
        Parameters and optax state to begin with. Integers of the state are counts of steps, and no part of the vector:
        they are their values here, plus the number of the step.
    dtype : dtype
        That of the vector.
    betas : list of (float, float) or None
        Decays of each of the state's Adam moments, see :func:`adam_betas`.

    Raises
    ------
    ValueError
        If a leaf is neither real nor an integer.
    """

    def __init__(self, params: Any, opt_state: Any, dtype: Any, betas: Sequence[tuple[float, float] | None]) -> None:
        self.example, self.dtype, self.betas = (params, opt_state), np.dtype(dtype), list(betas)
        leaves = jax.tree_util.tree_flatten_with_path(self.example)[0]
        self.floats = []
        for path, leaf in leaves:
            kind = leaf.dtype.kind if leaf.dtype.name != "bfloat16" else "f"
            owner = "params" if path[0].idx == 0 else "the optimizer's state"
            if kind not in "fiu" or (kind != "f" and owner == "params"):
                raise ValueError(
                    f"{owner} has {jax.tree_util.keystr(path[1:]) or 'a leaf'} of dtype {leaf.dtype}, which cannot be "
                    "part of a state: give real numbers, and keep others in the loss"
                )
            self.floats.append(kind == "f")
        self._squares = [_is_square(path) for path, _ in leaves]
        self.size = sum(leaf.size for (_, leaf), real in zip(leaves, self.floats, strict=True) if real)

    def flat(self, params: Any) -> Any:
        """Return a tree like the parameters as a vector."""
        return jnp.concatenate([jnp.ravel(leaf).astype(self.dtype) for leaf in jax.tree.leaves(params)])

    def tree(self, vector: Any) -> Any:
        """Return the tree of such a vector."""
        examples, tree = jax.tree.flatten(self.example[0])
        parts = jnp.split(vector, list(itertools.accumulate(leaf.size for leaf in examples))[:-1])
        pairs = zip(parts, examples, strict=True)
        return jax.tree.unflatten(tree, [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in pairs])

    def join(self, params: Any, opt_state: Any) -> Any:
        """Return the vector (size,) of parameters and optax state."""
        parts = []
        for leaf, real, square in zip(jax.tree.leaves((params, opt_state)), self.floats, self._squares, strict=True):
            if real:
                part = jnp.ravel(leaf).astype(self.dtype)
                parts.append(jnp.sqrt(part) if square else part)
        return jnp.concatenate(parts)

    def split(self, vector: Any, step: Any) -> tuple[Any, Any]:
        """Return parameters and optax state before fine step `step`."""
        examples, tree = jax.tree.flatten(self.example)
        leaves, place = [], 0
        for example, real, square in zip(examples, self.floats, self._squares, strict=True):
            if real:
                part = vector[place : place + example.size]
                place += example.size
                leaves.append(((part * part) if square else part).reshape(example.shape).astype(example.dtype))
            else:
                leaves.append(example + jnp.asarray(step, example.dtype))
        params, opt_state = jax.tree.unflatten(tree, leaves)
        return params, self._bounded(opt_state)

    def _bounded(self, opt_state: Any) -> Any:
        """Raise second moments of Adam to the minimum that the first moments allow."""
        betas = iter(self.betas)

        def bounded(node: Any) -> Any:
            if not _is_adam(node) or (known := next(betas)) is None:
                return node
            least = jax.tree.map(lambda m: least_second_moment(m, *known), node.mu)
            return node._replace(nu=jax.tree.map(lambda v, low: jnp.maximum(v, low.astype(v.dtype)), node.nu, least))

        return jax.tree.map(bounded, opt_state, is_leaf=_is_adam)


def _is_adam(node: Any) -> bool:
    return isinstance(node, optax.ScaleByAdamState)


def _is_centred(node: Any) -> bool:
    return type(node).__name__.startswith("ScaleByRStdDev")


def adam_betas(optimizer: Any, params: Any, opt_state: Any) -> list[tuple[float, float] | None]:
    """Return the decays of the state's Adam moments, found by an update without gradient; None if there are none."""

    def ones(node: Any) -> Any:
        return node._replace(mu=_filled(node.mu, 1), nu=_filled(node.nu, 1)) if _is_adam(node) else node

    zeros = _filled(params, 0)
    _, after = optimizer.update(zeros, jax.tree.map(ones, opt_state, is_leaf=_is_adam), zeros)
    found: list[tuple[float, float] | None] = []
    for node in filter(_is_adam, jax.tree.leaves(after, is_leaf=_is_adam)):
        pair = []
        for moment in (node.mu, node.nu):
            values = np.concatenate(
                [np.ravel(leaf).astype(float) for leaf in jax.tree.leaves(moment)] or [np.array([math.nan])]
            )
            pair.append(float(values[0]) if np.ptp(values) == 0 and 0 <= values[0] < 1 else math.nan)
        found.append(None if any(map(math.isnan, pair)) else (pair[0], pair[1]))
    return found


def _filled(tree: Any, value: float) -> Any:
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), tree)


def check_counts(optimizer: Any, params: Any, opt_state: Any) -> None:
    """Check that integers in an optax state count the steps, and that the rest of it is supported.

    Raises
    ------
    ValueError
        If an integer does not, or another part is not supported.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(opt_state)[0]:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(
                f"optimizer keeps {jax.tree_util.keystr(path)}, a key of random numbers: a step must give the same "
                "result each time it is computed; leave that transformation out"
            )
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_centred)
    if any(map(_is_centred, nodes)):
        raise ValueError(
            "optimizer divides by the root of a variance, a difference of two moments, as rmsprop(centered=True) does: "
            "in an iterate it may be negative; give centered=False"
        )
    after = opt_state
    try:
        for _ in range(2):
            _, after = optimizer.update(_filled(params, 0), after, params)
    except TypeError as error:
        raise ValueError(
            f"optimizer cannot make a step of gradient, state and parameters alone ({error}): give a transformation "
            "that needs no loss"
        ) from error
    pairs = zip(jax.tree_util.tree_flatten_with_path(opt_state)[0], jax.tree.leaves(after), strict=True)
    for (path, before), now in pairs:
        if jnp.issubdtype(before.dtype, jnp.integer) and not np.array_equal(np.asarray(before) + 2, np.asarray(now)):
            raise ValueError(
                f"optimizer keeps {jax.tree_util.keystr(path)}, which does not grow by one with each step: only counts "
                "of steps are known at all steps at once; leave that transformation out"
            )
