"""A JAX loss and an optax transformation as a propagator, through vmap and jit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from daskmgrit.coarse.long_steps import LongSteps, TakesLongSteps
from daskmgrit.errors import PropagatorError
from daskmgrit.jax.blocks import few_sizes, group_size, over_block, padded
from daskmgrit.jax.coupling import is_elementwise, plain_rate
from daskmgrit.jax.state import PytreeMap, adam_betas, check_counts, host
from daskmgrit.models.data import DataRule
from daskmgrit.propagators.batches import data_rule
from daskmgrit.propagators.row_bits import RowBits
from daskmgrit.recurrence.state import one_state
from daskmgrit.recurrence.step_length import AnyCoarsening, StepLength
from daskmgrit.utils.validation import brief

__all__ = ["JaxPropagator"]

# Platforms that workers may have where this process has not.
_PLATFORMS = (None, "cpu", "gpu", "cuda", "rocm", "tpu")


class _Compiled(NamedTuple):
    """A step as one process has compiled it, the data on its device, and whether the device is the CPU."""

    gradients: Callable[..., Any]
    update: Callable[..., Any]
    whole: Callable[..., Any]
    data: Any
    on_cpu: bool


class JaxPropagator(TakesLongSteps, AnyCoarsening):
    """A step of an optax transformation on a loss; see :func:`daskmgrit.jax.propagator`.

    Attributes
    ----------
    w0 : ndarray, shape (s,)
        The state to start from: the leaves of parameters and optimizer's state, in the order of JAX.
    long : LongSteps or None
        How coarse steps are taken at full length; None if they are capped.
    """

    pure = True
    long: LongSteps | None = None

    def __init__(
        self,
        loss: Callable[..., Any],
        params: Any,
        optimizer: Any,
        data: Any,
        batch: int | DataRule | None,
        opt_state: Any,
        length: StepLength,
        dtype: Any,
        device: str | None,
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss={brief(loss)} is not callable: give loss(params, inputs, targets)")
        if not callable(getattr(optimizer, "init", None)) or not callable(getattr(optimizer, "update", None)):
            raise TypeError(
                f"optimizer={brief(optimizer)} is no optax transformation: give one such as optax.adam(1e-3)"
            )
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
        if not leaves:
            raise ValueError(f"params={params!r} has no arrays: give the initial parameters")
        self.dtype = np.dtype(jnp.result_type(*leaves) if dtype is None else dtype)
        if self.dtype.name not in ("float32", "float64"):
            raise ValueError(f"dtype={self.dtype} is not supported: give params of float32 or float64, or dtype")
        if self.dtype == np.float64 and not jax.config.jax_enable_x64:
            raise ValueError(
                "dtype=float64, but JAX computes in single precision here: call "
                'jax.config.update("jax_enable_x64", True) before anything else, or give float32'
            )
        params = jax.tree.map(lambda leaf: _cast(leaf, self.dtype), params)
        opt_state = optimizer.init(params) if opt_state is None else jax.tree.map(jnp.asarray, opt_state)
        check_counts(optimizer, params, opt_state)
        self._loss, self._optimizer, self.length, self.device = loss, optimizer, length, device
        self.layout = PytreeMap(host(params), host(opt_state), self.dtype, adam_betas(optimizer, params, opt_state))
        self.w0 = np.array(self.layout.join(params, opt_state))
        self.pairs = isinstance(data, tuple | list) and len(data) == 2
        self._data = () if data is None else tuple(map(host, data)) if self.pairs else (host(data),)
        self._data = jax.tree.map(lambda leaf: _cast(leaf, self.dtype, np), self._data)
        for path, leaf in jax.tree_util.tree_flatten_with_path(self._data)[0]:
            if leaf.dtype.kind in "OSUM":
                raise TypeError(
                    f"data have {jax.tree_util.keystr(path)} of dtype {leaf.dtype}, no array of numbers: give (inputs, "
                    "targets) or another pytree of arrays"
                )
        if data is not None and not all(leaf.size for leaf in jax.tree.leaves(self._data)):
            shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(self._data))
            raise ValueError(f"data are empty: {shapes}; give examples")
        lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(self._data)}
        if len(lengths) > 1 and (self.pairs or batch is not None):
            raise ValueError(
                f"data have arrays of {', '.join(map(str, sorted(lengths)))} rows: give as many targets as inputs, and "
                "leave batch out if the data are not examples"
            )
        self.examples = data_rule(batch, lengths.pop() if lengths else 0)
        self._here: _Compiled | None = None
        self._whole: Callable[..., Any] | None = None
        self._rows, self._apart = RowBits(), False
        self._try()
        self._apart = is_elementwise(self._moved, params, opt_state)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_rows"} | {
            "_here": None,
            "_whole": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _rows=RowBits())
        if self.dtype == np.float64 and not jax.config.jax_enable_x64:
            jax.config.update("jax_enable_x64", True)

    def __repr__(self) -> str:
        return f"<jax propagator: {self.w0.size} entries of {self.dtype}>"

    # -- states ------------------------------------------------------------------------------------------------------

    def _place(self) -> Any:
        """Return the device to compute on, None for JAX's own choice."""
        if self.device is None:
            return None
        try:
            return jax.devices(self.device)[0]
        except RuntimeError as error:
            raise PropagatorError(
                f"device={self.device!r} cannot be used here ({error}): start workers where it can, or give "
                'propagator(device="cpu")'
            ) from None

    def to_block(self, state: np.ndarray) -> Any:
        """Return a state in the array type of a block: a JAX array on the device, or NumPy's if that is the CPU.

        JAX would compile the solver's own operations on blocks for each of their sizes.

        Raises
        ------
        PropagatorError
            If the state has another dtype or length, or there is no such device.
        """
        self._check(state)
        return state if self._compiled().on_cpu else jax.device_put(np.array(state), self._place())

    def _check(self, state: Any) -> None:
        if state.dtype != self.dtype or state.shape[-1] != self.w0.size:
            raise PropagatorError(
                f"w0 has {state.shape[-1]} entries of {state.dtype}, but states of these parameters and optimizer have "
                f"{self.w0.size} of {self.dtype}: start from phi.w0, or give propagator(dtype=...)"
            )

    def params(self, state: Any) -> Any:
        """Return the parameters of a state (s,)."""
        return self.layout.split(jnp.asarray(one_state(state, self.w0)), 0)[0]

    def opt_state(self, state: Any, step: int) -> Any:
        """Return the optimizer's state, of a state (s,) at point `step`."""
        return self.layout.split(jnp.asarray(one_state(state, self.w0)), step)[1]

    def loss(self, state: Any) -> float:
        """Return the loss of a state (s,) over all data."""
        # At once where a loss is asked for after every cycle: op by op, each would be compiled for itself.
        if self._whole is None:
            self._whole = jax.jit(lambda vector, data: self._loss(self.layout.split(vector, 0)[0], *data))
        return float(self._whole(one_state(state, self.w0), self._data))

    # -- a step ------------------------------------------------------------------------------------------------------

    def _try(self) -> None:
        """Compute one step, so that an unsupported loss or optimizer is reported at once."""
        trial = copy.copy(self)
        try:
            self._place()
        except PropagatorError:
            if self.device not in _PLATFORMS:
                raise ValueError(f'device={self.device!r} is not one of JAX\'s: give "cpu", "cuda" or "tpu"') from None
            # The workers' device is not here.
            trial.device = None
        try:
            trial(self.w0[None], np.zeros(1, int), 0)
        except ValueError:
            raise
        except Exception as error:
            fits = isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError) or "scalar" in str(error)
            remedy = (
                "the loss must be one number, made of JAX's functions alone" if fits else "give data that fit the loss"
            )
            raise PropagatorError(
                f"loss, params and data do not go through jax.grad and jax.vmap ({type(error).__name__}: {error}): "
                f"{remedy}"
            ) from error

    def _loss_gradient(self, vector: Any, *data: Any) -> Any:
        """Return the loss gradient of a state, as a vector."""
        return self.layout.flat(jax.grad(self._loss)(self.layout.split(vector, 0)[0], *data))

    def _updated(self, vector: Any, gradient: Any, step: Any, times: Any) -> Any:
        """Return a state after `times` updates with one gradient, the first that of fine step `step`."""
        return self._updated_along(self.layout.tree(gradient), self.layout.split(vector, step), times)

    def _updated_along(self, gradient: Any, start: tuple[Any, Any], times: Any) -> Any:
        def update(_: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
            return self._moved(gradient, now[1], now[0])

        return self.layout.join(*jax.lax.fori_loop(0, times, update, start))

    def _whole_step(self, vector: Any, step: Any, times: Any, *data: Any) -> Any:
        """Do the same with the loss gradient of the state itself."""
        start = self.layout.split(vector, step)
        return self._updated_along(jax.grad(self._loss)(start[0], *data), start, times)

    def _moved(self, gradient: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
        """Return parameters and the optimizer's state after one update."""
        updates, after = self._optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), after

    def _compiled(self) -> _Compiled:
        """Return the step as this process has compiled it, and the data on its device."""
        if self._here is None:
            # Compiled once for a size of block, whatever the level: so the number of updates is an argument.
            update = jax.vmap(self._updated, in_axes=(0, 0, 0, None))
            state, data = jax.device_put((self.w0, self._data), self._place())
            group, on_cpu = None, next(iter(state.devices())).platform == "cpu"
            if on_cpu:
                numbers = self.examples(np.zeros(1, int), 0)
                first = data if numbers is None else jax.tree.map(lambda leaf: leaf[numbers[0]], data)
                group = group_size(self._loss_gradient, state, *first)
            gradients, whole = (partial(over_block, one, group) for one in (self._loss_gradient, self._whole_step))
            self._here = _Compiled(jax.jit(gradients), jax.jit(update), jax.jit(whole), data, on_cpu)
        return self._here

    def __call__(self, weights: Any, index: np.ndarray, level: int) -> Any:
        """Return the states after one step of the level; NumPy's of NumPy states."""
        self._check(weights)
        if self.long is not None and level:
            gradient = partial(self.descent, index=index, level=level)
            return self.long(gradient, weights, self.length(level), level, index)
        if self._apart:

            def step(rows: Any, steps: np.ndarray) -> Any:
                return self._update(level, rows, self._found(level, rows, steps), steps)

        else:

            def step(rows: Any, steps: np.ndarray) -> Any:
                here, times = self._compiled(), (steps * self.length(level), self.length.taken(level))
                return here.whole(rows, self.examples(steps, level), here.data, *times)

        return few_sizes(step, self._place(), weights, index)

    @property
    def plain_rate(self) -> float | None:
        """The learning rate if a step is gradient descent at one rate, and nothing else; else None."""
        return plain_rate(self._moved, *self.layout.split(jnp.asarray(self.w0), 0))

    def at_rate(self, weights: Any, index: np.ndarray, level: int, rate: float) -> Any:
        """Return the states after a step of plain descent at a rate, with the data of `level`."""
        return weights - rate * self.descent(weights, index, level)

    def descent(self, weights: Any, index: np.ndarray, level: int) -> Any:
        """Return the gradient that plain descent follows, with the data of `level`."""
        return few_sizes(partial(self._found, level), self._place(), weights, index)

    @property
    def gradient(self) -> Callable[[Any, np.ndarray], Any] | None:
        """The costly part of a fine step, as ``gradient(weights, index)``; None if the optimizer couples entries.

        See :class:`daskmgrit.recurrence.split_propagator.SplitPropagator`. On the CPU a row has the same bits as by
        itself.
        """
        return self._gradient if self._apart else None

    @property
    def advance(self) -> Callable[[Any, Any, np.ndarray], Any] | None:
        """The optimizer's own update, as ``advance(state, gradient, index)``; None if it couples entries."""
        return self._advance if self._apart else None

    def _gradient(self, weights: Any, index: np.ndarray) -> Any:
        def found(rows: Any, steps: np.ndarray) -> Any:
            return self.descent(rows, steps, 0)

        if not self._compiled().on_cpu:
            # One call is what a device gains by.
            return found(weights, index)
        return self._rows(found, weights, index, padded(weights.shape[0]))

    def _advance(self, state: Any, gradient: Any, index: np.ndarray) -> Any:
        return few_sizes(partial(self._update, 0), self._place(), state, gradient, index)

    def _found(self, level: int, weights: Any, index: np.ndarray) -> Any:
        """Return loss gradients of a level's steps, shape (k, g)."""
        here = self._compiled()
        return here.gradients(weights, self.examples(index, level), here.data)

    def _update(self, level: int, weights: Any, gradient: Any, index: np.ndarray) -> Any:
        """Return the states that the optimizer makes of states and gradients."""
        return self._compiled().update(weights, gradient, index * self.length(level), self.length.taken(level))


def _cast(leaf: Any, dtype: Any, xp: Any = jnp) -> Any:
    """Return a leaf as an array, of `dtype` if it is real."""
    array = xp.asarray(leaf)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array
