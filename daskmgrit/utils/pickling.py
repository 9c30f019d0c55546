"""Pickling of what a user gives and of errors of Phi, in words where that fails."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from typing import Any

import cloudpickle

from daskmgrit.errors import PropagatorError

__all__ = ["Pickled", "check_picklable", "sendable"]


@dataclass(frozen=True, slots=True)
class Pickled:
    """A pickled object.

    Attributes
    ----------
    data : bytes
        The pickle, without large arrays.
    buffers : tuple of memoryview
        Memory of large arrays, not copied: valid as long as the object is not changed.
    """

    data: bytes
    buffers: tuple[memoryview, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return len(self.data) + sum(buffer.nbytes for buffer in self.buffers)

    def digest(self) -> str:
        """Return a digest that shows whether the object was changed since."""
        total = hashlib.sha1(self.data, usedforsecurity=False)
        for buffer in self.buffers:
            total.update(buffer)
        return total.hexdigest()


def check_picklable(phi: Any) -> Pickled:
    """Return the pickled propagator.

    Raises
    ------
    PropagatorError
        If the propagator cannot be pickled.
    """
    buffers: list[Any] = []
    try:
        data = bytes(cloudpickle.dumps(phi, protocol=5, buffer_callback=buffers.append))
        return Pickled(data, tuple(buffer.raw() for buffer in buffers))
    except Exception as error:
        raise PropagatorError(
            f"phi={phi!r} cannot be pickled, so it cannot be sent to workers: {type(error).__name__}: {error}. Open "
            "files, locks and connections inside phi at its first call, not earlier"
        ) from error


def sendable(error: Exception) -> Exception:
    """Return an error that can be sent to another process: itself, or another one with its name and text."""
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception:
        told = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        return told
    return error
