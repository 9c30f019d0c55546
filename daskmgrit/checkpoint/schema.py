"""Checks of a manifest before its use: kinds of values, their ranges, and their consistency."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from daskmgrit.errors import CheckpointUnusable

__all__ = ["check_arrays", "check_manifest", "check_window_manifest"]

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
# JSON has neither nan nor infinity, but Python reads both.
FINITE = sys.float_info.max
Number = Annotated[float, Meta(ge=0, le=FINITE)]
Text = Annotated[str, Meta(min_length=1)]
# Norm and component of a vector, as hexadecimal numbers.
Measure = tuple[str, str]


class _Fingerprint(Struct, forbid_unknown_fields=True):
    word: str | None
    size: Number
    tried: list[tuple[Count, Count, str, str]]
    transfers: list[Measure]


class _State(Struct, forbid_unknown_fields=True):
    library: str
    dtype: Text
    weights: Positive
    w0: str


class _Options(_State, forbid_unknown_fields=True):
    steps: Annotated[list[Positive], Meta(min_length=1)]
    cycle: str
    coarsening: list[Positive]
    relaxation: list[Any]
    weight: list[Annotated[float, Meta(ge=-FINITE, le=FINITE)]]


class _WindowOptions(_State, forbid_unknown_fields=True):
    steps: Positive
    jacobian: str
    interval: Positive
    rank: Positive


class _Problem(Struct, forbid_unknown_fields=True):
    options: _Options
    phi: _Fingerprint


class _WindowProblem(Struct, forbid_unknown_fields=True):
    options: _WindowOptions
    phi: _Fingerprint


class _Solve(Struct):
    tol: Number
    maxiter: Count
    every: Positive | None
    seconds: Number | None
    storage: Literal["full", "c-points"] = "full"


class _Manifest(Struct):
    cycle: Count
    residuals: list[Number]
    phi_evaluations: list[Count]
    depth: Count
    problem: _Problem
    solve: _Solve
    chunk: tuple[Positive, Positive]
    checksums: dict[str, str]
    losses: list[float] = []


class _Fixed(Struct, tag_field="rule", tag="Fixed"):
    values: _FixedValues


class _FixedValues(Struct, forbid_unknown_fields=True):
    first: Positive


class _AcceptanceValues(Struct, forbid_unknown_fields=True):
    most: Positive | None
    work: Annotated[float, Meta(ge=1, le=FINITE)]
    first: Positive


class _ByAcceptance(Struct, tag_field="rule", tag="ByAcceptance"):
    values: _AcceptanceValues


class _CorrectionValues(Struct, forbid_unknown_fields=True):
    most: Positive | None
    first: Positive
    least: Positive
    near: Number


class _ByCorrections(Struct, tag_field="rule", tag="ByCorrections"):
    values: _CorrectionValues


class _WindowManifest(Struct):
    cycle: Count
    first: Count
    spent: Number
    pace: Number
    age: Count
    tol: Number
    size: _Fixed | _ByAcceptance | _ByCorrections
    # first, slots, accepted, residual, depth, scan_depth, evaluations
    reports: list[tuple[Count, Positive, Positive, float, Positive, Count, Count]]
    problem: _WindowProblem
    every: Positive | None
    seconds: Number | None
    arrays: dict[str, str]
    # Of version 0.2.0: an estimate, which may overflow.
    growth: Annotated[float, Meta(ge=0)] = 0.0


Kind = TypeVar("Kind", _Manifest, _WindowManifest)


def check_manifest(path: Path, content: Any) -> None:
    """Check a manifest of MGRIT.

    Raises
    ------
    CheckpointUnusable
        If it is not; the message names the entry.
    """

    def fit(known: _Manifest) -> None:
        if len(known.residuals) != known.cycle + 1:
            raise ValueError("its residuals are not one number for each cycle and the initial guess")
        levels = len(known.problem.options.steps)
        if len(known.phi_evaluations) != levels:
            raise ValueError(f"its phi_evaluations are not one number for each of {levels} levels")

    _check(path, content, _Manifest, fit)


def check_window_manifest(path: Path, content: Any) -> None:
    """Check a manifest of parallel Newton.

    Raises
    ------
    CheckpointUnusable
        If it is not; the message names the entry.
    """

    def fit(known: _WindowManifest) -> None:
        accepted = [report[2] for report in known.reports]
        if len(accepted) != known.cycle or sum(accepted) != known.first:
            raise ValueError("its sweeps do not add up")
        if known.first > known.problem.options.steps:
            raise ValueError(f"it is of step {known.first} of {known.problem.options.steps}")

    _check(path, content, _WindowManifest, fit)


def _check(path: Path, content: Any, kind: type[Kind], fit: Callable[[Kind], None]) -> None:
    """Check that a manifest has entries of the right kinds, which fit together."""
    try:
        known = msgspec.convert(content, kind)
        fit(known)
        fingerprint: _Fingerprint = known.problem.phi
        for measure in [*(tried[2:] for tried in fingerprint.tried), *fingerprint.transfers]:
            for number in measure:
                float.fromhex(number)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise _unusable(path, error) from error


def check_arrays(path: Path, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Check that the arrays of a window fit together and fit its manifest.

    Raises
    ------
    CheckpointUnusable
        If they do not.
    """
    options = content["problem"]["options"]
    size, left = options["weights"], -(-(options["steps"] - content["first"]) // options["interval"])
    try:
        dtype = np.dtype(options["dtype"])
        lacking = {"w0", "states"} - arrays.keys()
        if lacking:
            raise ValueError(f"it has no {', '.join(sorted(lacking))}")
        slots = len(arrays["states"]) - 1 if arrays["states"].ndim else -1
        if not min(left, 1) <= slots <= left:
            raise ValueError(f"it has {slots} slots, with {left} left")
        rank = arrays["basis"].shape[-1] if "basis" in arrays and arrays["basis"].ndim else 0
        # Of each array the number of rows that there may be, and the rest of its shape; None for any.
        shapes: dict[str, tuple[tuple[int | None, ...], int]] = {
            "w0": ((size,), size),
            "states": ((None, size), slots + 1),
            # A solve that has ended leaves those of its last sweep.
            # Of version 0.2.0, not used any more.
            "rates": ((None,), options["steps"]),
            "before": ((None, size), slots or options["steps"]),
            "values": ((None, None), slots or options["steps"]),
            "error": ((1, size), 1),
            "jacobians": ((None, size, size), slots or options["steps"]),
            "basis": ((size, rank), size),
            "matrices": ((None, rank, rank), options["steps"]),
            "ends": ((None,), options["steps"]),
            "following": ((size, rank), size),
        }
        for name, array in arrays.items():
            if name not in shapes:
                raise ValueError(f"{name} is not known")
            shape, most = shapes[name]
            fits = array.ndim == len(shape) and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
            if not fits or len(array) > most or array.dtype.kind not in ("iu" if name == "ends" else "fc"):
                raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}")
        for name in ("w0", "states"):
            if arrays[name].dtype != dtype or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not of finite {dtype}")
        for together in ({"before", "values"}, {"basis", "matrices", "ends", "following"}):
            if not together.isdisjoint(arrays) and not together <= arrays.keys():
                raise ValueError(f"it has only some of {', '.join(sorted(together))}")
        if "before" in arrays and len(arrays["before"]) != len(arrays["values"]):
            raise ValueError("it has different numbers of values and states")
    except (TypeError, ValueError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointUnusable:
    return CheckpointUnusable(
        f"the checkpoint {path} is damaged: manifest.json: {error}. Resume from a copy of it; or move it away and "
        "start again"
    )
