"""The identity of a problem: options, w0, and the propagator by its fingerprint and its values.

A propagator is any callable, so its values identify it: a few steps of every level from states near w0. They are
compared to within rounding because another machine may round differently. If a propagator has a method
``fingerprint()``, which returns a string, the strings are compared too; they find differences that those few steps do
not show.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.errors import CheckpointUnusable
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.multigrid.state_transfer import TransferredPhi
from daskmgrit.propagators.function import vectorize
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.recurrence.state import InitialState
from daskmgrit.utils.array_api import Array, Origin, as_block, move_like, to_host

__all__ = ["compare", "compare_options", "describe", "describe_state", "evaluate", "noting", "options_of", "word_of"]

# Steps tried on level 0 and on each coarser level.
TRIED = 8, 3


def describe(hierarchy: Hierarchy, w0: InitialState) -> dict[str, Any]:
    """Return the part of a problem's identity that needs no call of the propagator."""
    return options_of(hierarchy) | describe_state(w0)


def describe_state(w0: InitialState) -> dict[str, Any]:
    """Return the identity of an initial state."""
    return {
        "library": w0.library,
        "dtype": w0.dtype.str,
        "weights": w0.size,
        "w0": hashlib.blake2b(w0.host.view(np.uint8).data, digest_size=16).hexdigest(),
    }


def options_of(hierarchy: Hierarchy) -> dict[str, Any]:
    """Return the solver's options, level by level where they may differ."""
    upper = hierarchy.levels[:-1]
    return {
        "steps": hierarchy.steps,
        "cycle": hierarchy.cycle,
        "coarsening": [level.coarsening for level in upper],
        "relaxation": [level.relaxation for level in upper],
        "weight": [level.weight for level in upper],
    }


@contextmanager
def noting(path: Path | None, size: int) -> Iterator[None]:
    """Note in an error of Phi that it was given states of a checkpoint, if there is one."""
    try:
        yield
    except Exception as error:
        if path is not None:
            error.add_note(f"daskmgrit: the checkpoint {path} has states of {size} entries: phi must be one for these")
        raise


def word_of(phi: Any) -> str | None:
    """Return the propagator's own fingerprint; None if it has none."""
    while isinstance(phi, vectorize | TransferredPhi):
        phi = phi.phi
    word = getattr(phi, "fingerprint", None)
    return None if word is None else str(word())


def evaluate(phi: Phi, w0: Array | Origin, steps: Sequence[int]) -> dict[str, Any]:
    """Return the propagator's fingerprint and its values in a few steps of levels with these numbers of steps.

    A step's values are the 2-norm of its change of the weights, and that change's component along a fixed vector.
    """
    starts = phi.starts if isinstance(phi, TransferredPhi) else (w0,) * len(steps)
    tried = []
    for level, (count, given) in enumerate(zip(steps, starts, strict=True)):
        block = as_block(phi, given)
        start = to_host(block)
        index = np.unique(np.linspace(0, count - 1, TRIED[level > 0]).astype(int))
        # Factors keep the sign of every weight, and zeros.
        factors = 1 + 0.01 * np.cos(np.arange(len(index))[:, None] + np.arange(start.size))
        states = (start * np.where(index[:, None] == 0, 1.0, factors)).astype(start.dtype)
        with np.errstate(all="ignore"):
            change = to_host(apply_phi(phi, move_like(states, block), index, level)) - states
        tried += [[level, int(i), *_measure(row)] for i, row in zip(index, change, strict=True)]
    seen = [_measure(row) for level, start in enumerate(starts) for row in _passed(phi, start, level)]
    return {
        "word": word_of(phi),
        "size": float(row_lengths(to_host(as_block(phi, w0))[None])[0]),
        "tried": tried,
        "transfers": seen,
    }


def _passed(phi: Phi, start: Array | Origin, level: int) -> list[Array]:
    """Return the initial value of a level as its transfer restricts it, and as it interpolates that back."""
    transfer = phi.transfers[level] if isinstance(phi, TransferredPhi) and level < len(phi.transfers) else None
    if transfer is None:
        return []
    coarse = transfer.restrict(as_block(phi, start)[None, ...], level)
    return [to_host(rows)[0] for rows in (coarse, transfer.interpolate(coarse, level))]


def _measure(row: Array) -> list[str]:
    """Return a vector's 2-norm, and its component along a fixed vector, as hexadecimal: JSON has no nan and inf."""
    wide = np.asarray(row.real + 0.5 * row.imag if np.iscomplexobj(row) else row, np.float64)
    with np.errstate(all="ignore"):
        return [float(row_lengths(wide[None])[0]).hex(), float(wide @ np.cos(1.0 + np.arange(wide.size))).hex()]


def compare_options(before: dict[str, Any], after: dict[str, Any], path: Any) -> None:
    """Check that options and initial value are those of the checkpoint `path`.

    Raises
    ------
    CheckpointUnusable
        If they are not; the message names the difference.
    """
    for name, value in before.items():
        if after[name] != value:
            if name == "library":
                raise CheckpointUnusable(
                    f"the checkpoint {path} began with an initial state of {value}, here it is of {after[name]}: give "
                    "the same w0 to resume as to solve"
                )
            said = {"weights": "number of weights"}.get(name, name)
            raise _another(path, f"its {said} is {_short(value)}, here it is {_short(after[name])}")


def compare(before: dict[str, Any], after: dict[str, Any], dtype: Any, path: Any) -> None:
    """Check that the propagator, on states of a dtype, is that of the checkpoint `path`.

    Raises
    ------
    CheckpointUnusable
        If it is not; the message names the difference.
    """
    if before["word"] is not None and after["word"] is not None and before["word"] != after["word"]:
        raise _another(path, f"phi.fingerprint() was {_short(before['word'])}, here it is {_short(after['word'])}")
    eps = float(np.finfo(dtype).eps)
    if [old[:2] for old in before["tried"]] != [new[:2] for new in after["tried"]]:
        raise _another(path, "phi was tried in other steps")
    for old, new in zip(before["tried"], after["tried"], strict=True):
        if not _alike(old[2:], new[2:], eps, before["size"]):
            raise _another(
                path,
                f"phi gives other weights on level {old[0]}, step {old[1]} (norm of the change "
                f"{float.fromhex(old[2]):.6g}, here {float.fromhex(new[2]):.6g})",
            )
    pairs = zip(before["transfers"], after["transfers"], strict=False)
    if len(before["transfers"]) != len(after["transfers"]) or not all(
        _alike(old, new, eps, before["size"]) for old, new in pairs
    ):
        raise _another(path, "its solver had another transfer")


def _another(path: Any, what: str) -> CheckpointUnusable:
    return CheckpointUnusable(
        f"the checkpoint {path} is of another problem: {what}. To resume from it, use the same solver, phi and w0; "
        "or save to another directory"
    )


def _alike(old: Sequence[str], new: Sequence[str], eps: float, size: float) -> bool:
    """Whether two measures of a vector differ by no more than rounding, on weights of this norm."""
    slack = 4 * math.sqrt(eps) * float.fromhex(old[0]) + 100 * eps * size
    # To what is not finite nothing else is close.
    slack = slack if math.isfinite(slack) else 0.0
    pairs = zip(map(float.fromhex, old), map(float.fromhex, new), strict=True)
    return all(abs(a - b) <= slack or a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
