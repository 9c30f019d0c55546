"""The initial guess: its kinds, and the tasks that make its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import Delayed

from daskmgrit.executors.dask_values import owner_elsewhere
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.builder import GraphBuilder
from daskmgrit.multigrid import c_point_kernels, chunk_kernels
from daskmgrit.multigrid.intervals import Span
from daskmgrit.recurrence.state import InitialState, no_array
from daskmgrit.utils.array_api import plain

__all__ = ["Guess", "check_guess"]

KINDS = ("zero", "constant", "nested")


@dataclass(frozen=True, slots=True)
class Guess:
    """An initial guess: one of the kinds, or ``"given"`` with its values, shape (N+1, s)."""

    kind: str
    values: Any = None

    def chunks(self, builder: GraphBuilder, executor: Executor) -> list[Delayed]:
        """Add the task that makes each chunk of level 0."""
        return self._tasks("guess", chunk_kernels.guess, builder, self._pieces(builder, executor))

    def evaluated(self, builder: GraphBuilder, executor: Executor) -> list[Delayed]:
        """Add the task that makes each chunk of level 0 and evaluates it, so that only its C-points remain."""
        pieces = self._pieces(builder, executor, led=True)
        return self._tasks("initial", c_point_kernels.evaluated_guess, builder, pieces)

    def _tasks(self, name: str, kernel: Any, builder: GraphBuilder, pieces: Sequence[Any]) -> list[Delayed]:
        spans = builder.spans()
        return [
            builder.chunk_task(name, j, kernel, builder.phi_task, piece, builder.w0_task, span)
            for j, (piece, span) in enumerate(zip(pieces, spans, strict=True))
        ]

    def _pieces(self, builder: GraphBuilder, executor: Executor, led: bool = False) -> Sequence[Any]:
        """Return the guess on each chunk: its kind or its rows, with the point before the chunk if `led`."""
        spans, owners = builder.spans(), builder.layout.levels[0].owners
        if self.kind != "given":
            return [self.kind] * len(spans)
        if not isinstance(self.values, da.Array):
            return [
                executor.put(_rows(self.values, span, led), f"given-{builder.run}-{j}", owners[j])
                for j, span in enumerate(spans)
            ]
        values = _bring(self.values, executor)
        if led:
            return [_rows(values, span, led).rechunk(-1).to_delayed().ravel()[0] for span in spans]
        return list(values.rechunk((tuple(span.points for span in spans), -1)).to_delayed().ravel())


def _rows(values: Any, span: Span, led: bool) -> Any:
    """Return the rows of a chunk."""
    return values[max(span.start - led, 0) : span.start + span.points]


def _bring(values: da.Array, executor: Executor) -> da.Array:
    """Fetch an array that is on another cluster than that of the solve."""
    owner = owner_elsewhere(values, executor, "initial_guess")
    return values if owner is None else da.from_array(owner.compute(values).result(), chunks=values.chunks)


def check_guess(guess: Any, steps: int, w0: InitialState) -> Guess:
    """Return the guess for the user's `initial_guess`.

    Raises
    ------
    ValueError
        If its name is unknown or its shape is not (steps+1, s).
    """
    if isinstance(guess, str):
        if guess not in KINDS:
            raise ValueError(
                f'initial_guess={guess!r} is not known: give "zero", "constant" (w0 everywhere), "nested", an array of '
                f"shape ({steps + 1}, {w0.size}), or an earlier Result"
            )
        return Guess(guess)
    values = guess if hasattr(guess, "__array__") else getattr(guess, "weights", guess)
    if not isinstance(values, da.Array):
        try:
            values = plain(np.asanyarray(values), "initial_guess")
        except TypeError as error:
            raise no_array(values, "initial_guess", f"one of shape ({steps + 1}, {w0.size})", error) from error
    if values.shape != (steps + 1, w0.size):
        raise ValueError(
            f"initial_guess has shape {values.shape}, but steps={steps} and w0 of length {w0.size} need "
            f"({steps + 1}, {w0.size}): a row of weights for each of the points 0 … {steps}"
        )
    if values.dtype.kind not in "iubf" + ("c" if w0.dtype.kind == "c" else ""):
        raise ValueError(f"initial_guess has dtype {values.dtype}, but w0 has {w0.dtype}: convert it to that")
    if isinstance(values, np.ndarray) and not np.isfinite(values[1:]).all():
        row = 1 + int(np.argmin(np.isfinite(values[1:]).all(axis=1)))
        raise ValueError(f"initial_guess holds nan or inf in row {row}: give finite weights")
    return Guess("given", values)
