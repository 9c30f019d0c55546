"""A checkpoint on disk: its files, and saves that are complete or do not exist.

::

    DIR/
        lock                                  held by the solve that writes here
        cycle-000020/                         complete: it got this name when all of it was on disk
            manifest.json                     its description, with a checksum of every chunk
            c_points/                         zarr array: C-points of level 0 by weights
        cycle-000030.0123456789ab.partial/    being written, or left behind by a solve that was killed

Nothing here is ever pickled.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.errors import CheckpointError, CheckpointUnusable
from daskmgrit.utils.array_api import Array
from daskmgrit.utils.install_hint import install_hint

__all__ = [
    "LOCK",
    "checksum_of_metadata",
    "chunk_shape",
    "clear",
    "commit",
    "create",
    "discard",
    "foreign",
    "latest",
    "manifest",
    "named",
    "read",
    "regular",
    "strays",
    "write",
]

FORMAT = "daskmgrit checkpoint 1"
LOCK = "lock"
CHUNK_BYTES = 1 << 26
DTYPES = ("f2", "f4", "f8", "c8", "c16")

_WHOLE = re.compile(r"cycle-(\d{6,})")
_OTHERS = re.compile(r"cycle-\d{6,}\.[0-9a-f]{12}\.(partial|removed)|visible-[0-9a-f]{12}|" + LOCK)


def zarr() -> Any:
    """Import zarr, which only checkpoints need."""
    try:
        import zarr
    except ImportError:
        raise ImportError(f"checkpoints need zarr, which is not installed: {install_hint('checkpoint')}") from None
    return zarr


# -- what is there -----------------------------------------------------------------------------------------------


def foreign(directory: Path) -> list[str]:
    """Return the names in a directory that no checkpoint has."""
    return sorted(
        entry.name
        for entry in os.scandir(directory)
        if not (_WHOLE.fullmatch(entry.name) or _OTHERS.fullmatch(entry.name))
    )


def strays(directory: Path) -> dict[str, str]:
    """Return the names of checkpoints in a directory that no solve made, with their kinds: none is a directory."""
    named = (_WHOLE, _OTHERS)
    entries = (entry for entry in os.scandir(directory) if any(form.fullmatch(entry.name) for form in named))
    found = {
        entry.name: "a symbolic link" if entry.is_symlink() else "not a directory"
        for entry in entries
        if entry.is_symlink() or not (entry.is_dir() or entry.name == LOCK)
    }
    return dict(sorted(found.items()))


def _whole(directory: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    try:
        entries = [entry for entry in os.scandir(directory) if _WHOLE.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be read: {error}") from error
    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return [directory / name for name in sorted(names, key=cycle_of)]


def latest(directory: Path) -> Path | None:
    """Return the newest complete checkpoint in a directory, None if there is none."""
    whole = _whole(directory)
    return whole[-1] if whole else None


def cycle_of(name: str) -> int:
    """Return the cycle in the name of a complete checkpoint."""
    return int(name.removeprefix("cycle-"))


def manifest(path: Path, form: str = FORMAT) -> dict[str, Any]:
    """Read the manifest of a complete checkpoint.

    Raises
    ------
    CheckpointUnusable
        If it is damaged, or of an unknown version of the format.
    """
    file = path / "manifest.json"
    try:
        outer = json.loads(regular(file).read_text(encoding="utf-8"))
        content = outer["content"] if isinstance(outer, dict) else None
        if not isinstance(content, dict):
            raise ValueError("it is no table of entries")
        if outer["format"] != form:
            raise CheckpointUnusable(
                f"{path} has the format {outer['format']!r}, not {form!r}: it is of another method or version; "
                "resume with that one, or give another directory"
            )
        if outer["checksum"] != _checksum_of_json(content):
            raise ValueError("its checksum is wrong")
        if content["cycle"] != cycle_of(path.name):
            raise ValueError(f"it is of cycle {content['cycle']}")
    except KeyError as error:
        raise _damaged(path, f"manifest.json: it has no entry {error}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, f"manifest.json: {error}") from error
    return dict(content)


# -- what workers do ---------------------------------------------------------------------------------------------


def chunk_shape(bounds: Sequence[int], size: int, itemsize: int) -> tuple[int, int]:
    """Return the rows and columns of a zarr chunk, such that none holds rows of two blocks.

    Examples
    --------
    >>> chunk_shape((0, 16, 32, 51), size=1000, itemsize=8)
    (16, 1000)
    """
    columns = min(size, CHUNK_BYTES // itemsize)
    most = max(1, CHUNK_BYTES // (columns * itemsize))
    common = math.gcd(*bounds[1:-1])
    if not common:
        return min(bounds[-1], most), columns
    return next(rows for rows in range(min(common, most), 0, -1) if common % rows == 0), columns


def _pieces(first: int, last: int, shape: tuple[int, int], columns: int) -> Iterator[tuple[slice, slice, str]]:
    """Rows, columns and file name of every chunk from row `first` (where a chunk begins) up to `last`."""
    for a, b in itertools.product(range(first, last, shape[0]), range(0, columns, shape[1])):
        yield slice(a, a + shape[0]), slice(b, b + shape[1]), f"c.{a // shape[0]}.{b // shape[1]}"


def write(path: str, first: int, rows: Array) -> dict[str, str]:
    """Write rows ``first …`` of the C-points to a checkpoint that was created; returns the checksum of each chunk."""
    with named(f"the checkpoint {path} cannot be written on {socket.gethostname()}"):
        array = zarr().open_array(store=Path(path) / "c_points", mode="r+")
        array[first : first + len(rows)] = rows
        checksums = {}
        for lines, columns, name in _pieces(first, first + len(rows), array.chunks, rows.shape[1]):
            _flush(Path(path) / "c_points" / name)
            checksums[name] = _checksum(rows[lines.start - first : lines.stop - first, columns])
        return checksums


def read(path: str, lo: int, hi: int, shape: tuple[int, int], checksums: Mapping[str, str]) -> Array:
    """Read rows ``lo … hi-1`` of the C-points and check every chunk that holds them.

    Raises
    ------
    CheckpointUnusable
        If a chunk is damaged or missing.
    """
    folder = Path(path) / "c_points"
    begin = lo - lo % shape[0]
    try:
        # Its content must be that which was written, because it names the codecs that zarr runs.
        if checksum_of_metadata(Path(path))["zarr.json"] != checksums.get("zarr.json"):
            raise ValueError("the checksum of zarr.json is wrong")
        array = zarr().open_array(store=folder, mode="r")
        if array.chunks != tuple(shape) or array.shape[0] < hi:
            raise ValueError(f"its array has shape {array.shape} in chunks of {array.chunks}, not of {tuple(shape)}")
        end = min(-(-hi // shape[0]) * shape[0], array.shape[0])
        rows = np.empty((end - begin, array.shape[1]), array.dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{error} (seen from {socket.gethostname()})") from error
    for lines, columns, name in _pieces(begin, end, shape, rows.shape[1]):
        part = rows[lines.start - begin : lines.stop - begin, columns]
        try:
            # zarr takes a missing chunk for an empty one, and says little of one that is cut short.
            there, wanted = os.stat(folder / name).st_size, math.prod(shape) * rows.itemsize
            if there != wanted:
                raise ValueError(f"it has {there} bytes of {wanted}")
            part[...] = array[lines, columns]
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(path, f"chunk {name}: {error}") from error
        if _checksum(part) != checksums.get(name):
            raise _damaged(path, f"the checksum of chunk {name} is wrong")
    return rows[lo - begin : hi - begin]


# -- what the client does ----------------------------------------------------------------------------------------


def create(directory: Path, cycle: int, token: str, shape: tuple[int, int], dtype: Any, chunk: tuple[int, int]) -> Path:
    """Begin a checkpoint: make its directory, under a unique name, with the array that workers write to."""
    path = directory / f"cycle-{cycle:06d}.{token}.partial"
    with named(f"no checkpoint can be written in {directory}"):
        path.mkdir()
        zarr().create_array(
            store=path / "c_points",
            shape=shape,
            dtype=dtype,
            chunks=chunk,
            # Weights hardly compress; and no chunk of them is empty, that is nan, so that zarr leaves none out.
            compressors=None,
            fill_value=math.nan,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=("c_point", "weight"),
        )
    return path


def commit(path: Path, content: Mapping[str, Any], form: str = FORMAT) -> Path:
    """Complete a checkpoint once all workers have written: flush it to disk, and rename it."""
    whole = path.with_name(path.name.split(".")[0])
    # A file with the name that is no checkpoint stays; one more zero is the same cycle.
    while whole.name in strays(path.parent):
        whole = whole.with_name(whole.name.replace("-", "-0"))
    with named(f"the checkpoint {whole} cannot be written"):
        text = json.dumps({"format": form, "checksum": _checksum_of_json(content), "content": content}, indent=1)
        with (path / "manifest.json").open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if form == FORMAT:
            _flush(path / "c_points" / "zarr.json")
            _flush(path / "c_points")
        _flush(path)
        path.rename(whole)
        _flush(path.parent)
    return whole


def discard(path: Path) -> None:
    """Remove a checkpoint; its remains never look complete."""
    with suppress(OSError):
        if _WHOLE.fullmatch(path.name):
            path = path.rename(path.with_name(f"{path.name}.{os.urandom(6).hex()}.removed"))
    shutil.rmtree(path, ignore_errors=True)


def clear(directory: Path, keep: Path | None) -> None:
    """Remove the checkpoints that a newer one replaces, and the remains of killed solves.

    A file with such a name that is not a directory stays, see :func:`strays`.
    """
    for entry in list(os.scandir(directory)):
        if not entry.is_dir(follow_symlinks=False):
            continue
        path = directory / entry.name
        old = _WHOLE.fullmatch(entry.name) and keep is not None and cycle_of(entry.name) < cycle_of(keep.name)
        if old or _OTHERS.fullmatch(entry.name):
            discard(path)


# -- helpers -----------------------------------------------------------------------------------------------------


def regular(path: Path) -> Path:
    """Return a file's path; refuse anything else, e.g. a pipe, because its reading might never end."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    return path


def _damaged(path: Path | str, what: str) -> CheckpointUnusable:
    return CheckpointUnusable(
        f"the checkpoint {path} is damaged: {what}. Restore its files and resume; or move it away and start again"
    )


@contextmanager
def named(what: str) -> Iterator[None]:
    """Name in an operating system's error the work that failed."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{what}: {error}") from error


def _flush(path: Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems flush files only.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)


def checksum_of_metadata(path: Path) -> dict[str, str]:
    """Return the checksum of the array's metadata."""
    data = regular(path / "c_points" / "zarr.json").read_bytes()
    return {"zarr.json": hashlib.blake2b(data, digest_size=16).hexdigest()}


def _checksum(rows: Array) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data, digest_size=16).hexdigest()


def _checksum_of_json(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
