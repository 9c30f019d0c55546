"""Functions as propagators: the body of a training loop, for one state or for a block of states."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from daskmgrit.display.html import Markup, block, fields, short_name
from daskmgrit.errors import PropagatorError
from daskmgrit.recurrence.propagator import Phi, at_row, stages_of
from daskmgrit.recurrence.step_length import AnyCoarsening, StepLength
from daskmgrit.utils.array_api import Array, copy_of, namespace

__all__ = ["Stretched", "from_function", "vectorize"]

BIND_OTHERS = "bind all other arguments by functools.partial or default values"


def from_function(
    f: Callable[..., Any], vectorized: bool = False, *, coarsening: int | Sequence[int] = 2, cap: int | None = None
) -> Phi:
    """Make a propagator of the body of a training loop.

    Parameters
    ----------
    f : callable
        ``f(w)``, ``f(w, i)`` or ``f(w, i, level)`` returns the weights after step i. A loop that knows no levels (the
        first two) is a propagator as it is: a coarse step of length M takes the fine step's change M times (see
        Notes).
    vectorized : bool, default False
        Whether f takes k states at once, as weights (k, s) and steps (k,), which makes it fast. If not, f is called in
        a loop with one state (s,), a copy that it may write to, and an integer step.
    coarsening : int or list of int, default 2
        Coarsening factors of the solver, for an f without `level`.
    cap : int, optional
        For an f without `level`: the maximum number of fine steps that a coarse step takes at once. Without it the
        coarse rate grows with the step's length without bound, and diverges beyond what the loss allows.

    Returns
    -------
    callable
        ``phi(weights, index, level)``.

    Raises
    ------
    TypeError
        If f is not callable, or takes another number of arguments.

    See Also
    --------
    vectorize : the equivalent for ``f(w, i, level)`` of one state.

    Notes
    -----
    Without `level`, step i of level l is ``w + M*(f(w, i*m**l) - w)`` with ``M = min(m**l, cap)``. For gradient descent
    ``f(w) = w - rate*gradient(w)`` that is a step of rate ``M*rate``: the paper's rule (equation 14).

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def loop_body(w, i):
    ...     w -= 0.01 * np.sin(w)
    ...     return w
    >>> phi = dm.from_function(loop_body, cap=16)
    >>> dm.MGRIT(phi, 64).solve(np.ones(3)).reason
    'tol'
    """
    count = _arguments(f)
    if count == 3:
        return f if vectorized else vectorize(f)
    return Stretched(f, count == 2, vectorized, StepLength(coarsening, cap))


def _arguments(f: Any) -> int:
    """Return the number of arguments (w, i, level) that f takes."""
    if not callable(f):
        raise TypeError(f"f={f!r} is not callable: give a function f(w), f(w, i) or f(w, i, level) -> new w")
    signature = _signature("f", f)
    if signature is None:
        return 3
    parameters = signature.parameters.values()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # A level, or any number of arguments, may be given; other defaults are f's own.
    has_level = any(p.name == "level" for p in by_place) or any(p.kind == p.VAR_POSITIONAL for p in parameters)
    count = 3 if has_level else sum(p.default is p.empty for p in by_place)
    if not (1 <= count <= 3 and _binds(signature, count)):
        raise TypeError(
            f"f={short_name(f)} takes {signature}: give a function f(w), f(w, i) or f(w, i, level) -> new w, and "
            f"{BIND_OTHERS}"
        )
    return count


def _signature(name: str, f: Any) -> inspect.Signature | None:
    """Return the signature of a function, None if it does not tell; refuse a class."""
    if isinstance(f, type):
        raise TypeError(f"{name}={f.__name__} is a class: give an instance, {f.__name__}(…), or one of its methods")
    try:
        return inspect.signature(f)
    except ValueError:  # a built-in function
        return None


def _binds(signature: inspect.Signature, count: int) -> bool:
    """Whether a function can be called with this number of arguments by place."""
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


class vectorize:
    """Wrap ``phi(w, i, level) -> new w`` for one state w (s,) into a propagator for blocks (k, s).

    It loops, so it is as slow as the serial code. A phi that takes a block is worth writing.

    Parameters
    ----------
    phi : callable
        Takes weights (s,), which are its own to write to, the integer source step and the integer level; returns new
        weights (s,).

    Raises
    ------
    TypeError
        If phi is not callable, or does not take three arguments.

    See Also
    --------
    from_function : also takes a phi without `level`, or a batched one.

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
        signature = _signature("phi", phi)
        if signature is not None and not _binds(signature, 3):
            raise TypeError(
                f"phi={short_name(phi)} takes {signature}, but vectorize calls it as phi(w, i, level): a loop's body "
                f"f(w) or f(w, i) becomes a propagator by daskmgrit.from_function(f); {BIND_OTHERS}"
            )
        self.phi = phi

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the wrapped phi to each state."""
        xp, own, new = namespace(weights), copy_of(weights), []
        for row, i in enumerate(index):
            with at_row(row, len(index)):
                new.append(xp.asarray(self._one(own[row, ...], int(i), level)))
        return xp.stack(new)

    def _one(self, w: Array, i: int, level: int) -> Any:
        new = self.phi(w, i, level)
        if new is None:
            raise PropagatorError(f"{self._name} returned None (level {level}, step {i}): return the new weights")
        try:
            shape = tuple(np.shape(new))
        except ValueError:
            # A tuple or list of arrays of several shapes.
            raise PropagatorError(
                f"{self._name} returned a {type(new).__name__} of several shapes for a state of shape "
                f"{tuple(w.shape)} (level {level}, step {i}): return the new weights alone, as one flat array"
            ) from None
        if shape != tuple(w.shape):
            raise PropagatorError(
                f"{self._name} returned shape {shape} for a state of shape {tuple(w.shape)} (level {level}, step {i}): "
                f"{_remedy(shape, w.shape[0])}"
            )
        return new

    @property
    def _name(self) -> str:
        """The user's function, for messages."""
        owner = getattr(self.phi, "__self__", None)
        name, phi = ("f", owner.f) if isinstance(owner, Stretched) else ("phi", self.phi)
        return f"{name}={short_name(phi)}"

    def stages(self, level: int) -> int:
        """Return the wrapped phi's stages, one if it declares none."""
        return stages_of(self.phi, level)

    def __repr__(self) -> str:
        return f"vectorize({getattr(self.phi, '__qualname__', repr(self.phi))})"

    def _repr_html_(self) -> str:
        return _view(self)


def _remedy(shape: tuple[int, ...], size: int) -> str:
    """Return the remedy for a result of the wrong shape, for a state of `size` weights."""
    if shape and math.prod(shape) == size:
        return "flatten it, by new.ravel()"
    remedy = f"return the new weights, all {size} as one flat array"
    return f"{remedy}; if they are all, give a w0 of length {shape[0]}" if len(shape) == 1 else remedy


class Stretched(AnyCoarsening):
    """A loop that knows no levels: a coarse step takes the fine step's change several times.

    Parameters
    ----------
    f : callable
        The loop's body.
    stepped : bool
        Whether it takes the step.
    vectorized : bool
        Whether it takes a block.
    length : StepLength
        Lengths of coarse steps.
    """

    # The remedy if f is for one state.
    remedy_for_one_state = (
        "Leave out vectorized=True, so that daskmgrit.from_function calls f for one state after another, or have f "
        "compute all rows at once, which is faster"
    )

    def __init__(self, f: Callable[..., Any], stepped: bool, vectorized: bool, length: StepLength) -> None:
        self.f, self.stepped, self.length = f, stepped, length
        self._block = self._apply if vectorized else vectorize(self._apply)

    def _apply(self, weights: Any, index: Any, level: int) -> Any:
        return self.f(weights, index) if self.stepped else self.f(weights)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step of the level."""
        new = self._block(weights, index * self.length(level), 0)
        times = self.length.taken(level)
        return new if times == 1 else weights + times * (new - weights)

    def __repr__(self) -> str:
        return f"from_function({self.f!r})"


def _view(phi: vectorize) -> Markup:
    """Return the view of a wrapped function."""
    inner = phi.phi
    # A function's repr has its address, which tells a reader nothing.
    place = f"{inner.__module__}." if getattr(inner, "__module__", None) else ""
    rows = [("phi", f"{place}{short_name(inner)}" if inspect.isroutine(inner) else repr(inner))]
    # A function that is not Python's may have none.
    with suppress(TypeError, ValueError):
        rows.append(("signature", f"{short_name(inner)}{inspect.signature(inner)}"))
    about = inspect.getdoc(inner) if inspect.isroutine(inner) else None
    if about:
        rows.append(("about", about.splitlines()[0]))
    rows.append(("states", "one after another, in a Python loop; a phi that takes many at once is faster"))
    return block("vectorize", fields(rows))
