"""A checkpoint of parallel Newton on disk: the window between two sweeps, as arrays of numbers and a manifest.

::

    DIR/
        lock                                  held by the solve that writes here
        cycle-000020/                         complete: after 20 sweeps
            manifest.json                     its description, with a checksum of every array
            states.npy, …                     the arrays; nothing here is ever pickled
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.checkpoint import store
from daskmgrit.errors import CheckpointUnusable

__all__ = ["FORMAT", "read_arrays", "write_window"]

FORMAT = "daskmgrit window checkpoint 1"


def write_window(directory: Path, sweeps: int, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a checkpoint completely or not at all; return its path.

    Parameters
    ----------
    directory : Path
        The directory of checkpoints, held by this solve.
    sweeps : int
        Sweeps done.
    content : mapping
        Entries of the manifest besides the arrays' checksums.
    arrays : mapping of str to ndarray
        The arrays.
    """
    path = directory / f"cycle-{sweeps:06d}.{os.urandom(6).hex()}.partial"
    with store.named(f"no checkpoint can be written in {directory}"):
        path.mkdir()
        for name, array in arrays.items():
            with (path / f"{name}.npy").open("xb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
    checksums = {name: _checksum(array) for name, array in arrays.items()}
    return store.commit(path, {**content, "cycle": sweeps, "arrays": checksums}, FORMAT)


def read_arrays(path: Path, checksums: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Read the arrays of a checkpoint.

    Raises
    ------
    CheckpointUnusable
        If one is damaged or missing.
    """
    arrays = {}
    for name, checksum in checksums.items():
        try:
            if not name.isidentifier():
                raise ValueError("it has no name of an array")
            arrays[name] = np.load(store.regular(path / f"{name}.npy"), allow_pickle=False)
            if _checksum(arrays[name]) != checksum:
                raise ValueError("its checksum is wrong")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointUnusable(f"the checkpoint {path} is damaged: {name}.npy: {error}") from error
    return arrays


def _checksum(array: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
