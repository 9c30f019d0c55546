"""Blocks of any array library: functions for kernels beyond the operators of the Python array API standard.

Kernels ask :func:`namespace` for a block's functions, so that torch and JAX blocks pass through as they are. For NumPy
blocks that costs one isinstance.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat
import array_api_compat.numpy
import numpy as np
from array_api_compat import device, is_jax_array, is_torch_array
from numpy.typing import NDArray

from daskmgrit.errors import PropagatorError
from daskmgrit.utils.private_api import write_count

__all__ = [
    "Array",
    "Origin",
    "add_onto",
    "as_block",
    "call_purely",
    "compact",
    "copy_of",
    "device",
    "in_host_memory",
    "is_array",
    "library_of",
    "may_change",
    "move_like",
    "namespace",
    "nbytes",
    "origin",
    "plain",
    "to_host",
]

# Of NumPy, or of another library that keeps the Python array API standard.
Array = NDArray

_NUMPY: Any = array_api_compat.numpy


def namespace(block: Any) -> Any:
    """Return the array API functions of a block's library."""
    return _NUMPY if isinstance(block, np.ndarray) else array_api_compat.array_namespace(block)


def is_array(value: Any) -> bool:
    """Whether a value is an array of a library that follows the standard."""
    return isinstance(value, np.ndarray) or array_api_compat.is_array_api_obj(value)


def to_host(block: Any) -> np.ndarray:
    """Return a block as a NumPy array, without a copy if it is in host memory already."""
    if isinstance(block, np.ndarray):
        return block
    if is_torch_array(block):
        block = block.detach().cpu()
    return np.asarray(block)


def in_host_memory(block: Any) -> bool:
    """Whether a block of any library is in host memory.

    Examples
    --------
    >>> in_host_memory(np.ones(1))
    True
    """
    return isinstance(block, np.ndarray) or "cpu" in str(array_api_compat.device(block)).lower()


def plain(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of a subclass, such as ``np.matrix``, as an ndarray of this machine's byte order.

    Raises
    ------
    ValueError
        If entries are masked, because the mask would be lost.
    """
    if np.ma.is_masked(array):
        raise ValueError(
            f"{name} is a masked array with masked entries: give numbers for them, such as {name}.filled(0)"
        )
    array = np.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def compact(rows: Any) -> Any:
    """Return rows that are contiguous and, as they may be sent, hold no memory but their own."""
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(rows)
    if is_torch_array(rows):
        # Pickling a view would send all of what it is a view of.
        whole = rows.is_contiguous() and rows.untyped_storage().nbytes() == nbytes(rows)
        return rows if whole else rows.clone(memory_format=_torch().contiguous_format)
    return rows


def _torch() -> Any:
    import torch

    return torch


def add_onto(rows: Any, fresh: Any) -> Any:
    """Return the sum, in the memory of `fresh` where possible; nothing else may refer to `fresh`."""
    # A Phi's result may be a view in which rows share memory.
    if isinstance(fresh, np.ndarray) and fresh.flags.owndata and fresh.flags.writeable:
        return np.add(rows, fresh, out=fresh)
    return rows + fresh


def copy_of(rows: Any) -> Any:
    """Return a copy."""
    return rows.copy() if isinstance(rows, np.ndarray) else namespace(rows).asarray(rows, copy=True)


def nbytes(block: Any) -> int:
    """Return the bytes of a block's entries."""
    known = getattr(block, "nbytes", None)
    if known is None:
        known = math.prod(block.shape) * (namespace(block).finfo(block.dtype).bits // 8)
    return int(known)


def move_like(rows: np.ndarray, block: Any) -> Any:
    """Return host rows as an array of a block's library, on its device."""
    if isinstance(block, np.ndarray):
        return rows
    return namespace(block).asarray(np.array(rows), device=device(block))


class Origin(NamedTuple):
    """A user's array of another library on its way to a worker, where the array is made again."""

    host: np.ndarray
    library: str
    device: Any

    def make(self) -> Any:
        """Return the array, on the device that it was on.

        Raises
        ------
        PropagatorError
            If the library does not support its dtype there.
        """
        xp = importlib.import_module(self.library)
        block = xp.asarray(self.host.copy(), device=self.device)
        if to_host(block).dtype != self.host.dtype:
            raise PropagatorError(
                f"w0 is of {self.host.dtype}, but {xp.__name__} made {block.dtype} of it where phi runs: JAX has "
                "double precision only if JAX_ENABLE_X64=1 is set in the environment of every process"
            )
        return block


def origin(given: Any, start: np.ndarray) -> np.ndarray | Origin:
    """Return the recipe for a user's initial value on a worker; `start` is its host copy.

    Anything that is not an array of another library is `start` itself; so is a dask array, in which no phi computes.
    """
    if isinstance(given, np.ndarray) or not is_array(given) or array_api_compat.is_dask_array(given):
        return start
    # A JAX device cannot be sent: there it is the default one of the process.
    return Origin(start, namespace(given).__name__, None if is_jax_array(given) else device(given))


def library_of(start: np.ndarray | Origin) -> str:
    """Return the name of the library of a user's initial value."""
    return start.library.rpartition(".")[2] if isinstance(start, Origin) else "numpy"


def as_block(phi: Any, start: Any) -> Any:
    """Return a state as the array that `phi` works on: by its ``to_block`` from a NumPy array, if it has one."""
    convert: Callable[[Any], Any] | None = getattr(phi, "to_block", None)
    if convert is not None:
        return convert(start.host if isinstance(start, Origin) else start)
    return start.make() if isinstance(start, Origin) else start


def may_change(block: Any) -> bool:
    """Whether a holder of the block could write to it."""
    return not is_jax_array(block)


def call_purely(function: Callable[..., Any], block: Any, *args: Any) -> tuple[Any, bool]:
    """Call ``function(block, *args)`` on a block that is not NumPy's; return its result, and whether it wrote to it."""
    if is_torch_array(block):
        # A detached view counts writes together with the block itself.
        view = block.detach()
        before = write_count(view)
        new = function(view, *args)
        if is_torch_array(new) and new.requires_grad:
            # Off its graph of gradients, and away from what may be a parameter.
            new = new.detach().clone()
        return new, before is not None and write_count(view) != before
    new = function(block, *args)
    return new, bool(is_jax_array(block) and block.is_deleted())
