"""The directory of a solve's checkpoints: is it ours to write to, and do all workers see the same one?"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daskmgrit.checkpoint import store
from daskmgrit.errors import CheckpointError
from daskmgrit.executors.executor import Executor

__all__ = ["claim", "find", "try_directory"]

logger = logging.getLogger("daskmgrit")


def find(directory: Path) -> Path:
    """Return the newest checkpoint in a directory.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    path = store.latest(directory)
    if path is None:
        what = "is not there"
        if directory.is_dir():
            strays = [f"; {name} is {kind}, which no solve makes" for name, kind in store.strays(directory).items()]
            what = f"holds no whole checkpoint{''.join(strays[:3])}"
        if directory.is_file():
            what = "is a file, not a directory"
        raise CheckpointError(f"there is nothing to go on from: {directory} {what}")
    return path


@contextmanager
def claim(directory: Path, going_on: bool, executor: Executor | None) -> Iterator[None]:
    """Hold a directory for one solve, after seeing that it may be written to, by all workers.

    Parameters
    ----------
    directory : Path
        The directory.
    going_on : bool
        Whether the solve resumes from a checkpoint in it; else there must be none.
    executor : Executor or None
        Its workers are those that will write; None where this process alone does.

    Raises
    ------
    CheckpointError
        If it holds something else or a checkpoint where neither is expected, another solve writes to it, it cannot be
        written to, or a worker sees another directory.
    """
    if executor is not None:
        store.zarr()
    with _locked(directory, going_on):
        if not going_on:
            # Another solve may have saved one, and ended, before this one had the lock.
            _expect_none(directory)
        for name, kind in store.strays(directory).items():
            logger.warning("%s is %s, which no solve makes: it is left as it is", directory / name, kind)
        store.clear(directory, None)
        _check_shared(directory, executor)
        yield


def try_directory(directory: Path, going_on: bool) -> None:
    """Find out, as far as this process can, whether a solve could have a directory: for an early error.

    Raises
    ------
    CheckpointError
        As `claim` does.
    """
    with _locked(directory, going_on):
        pass


@contextmanager
def _locked(directory: Path, going_on: bool) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = store.foreign(directory)
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be used: {error}") from error
    if others and not going_on:
        some = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise CheckpointError(
            f"checkpoint={str(directory)!r} holds something else ({some}): give a directory that is empty or missing"
        )
    if not going_on:
        _expect_none(directory)
    try:
        handle = os.open(directory / store.LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be written to: {error}") from error
    try:
        _lock(handle, directory)
        yield
    finally:
        # The system lets go of the lock, however the process ends.
        os.close(handle)


def _expect_none(directory: Path) -> None:
    path = store.latest(directory)
    if path:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} already holds a checkpoint, of cycle {store.cycle_of(path.name)}: go on "
            "from it with solver.resume(...), or --resume; or give another directory"
        )


def _lock(handle: int, directory: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} is written to by another solve: wait for it, or give another directory"
        ) from None
    except OSError:
        # A file system without locks; names that are no other solve's keep files apart there too.
        return


def _check_shared(directory: Path, executor: Executor | None) -> None:
    """See that all workers see this directory, and this process what they write to it."""
    token = os.urandom(6).hex()
    folder = directory / f"visible-{token}"
    try:
        folder.mkdir()
        (folder / "client").write_text(token, encoding="ascii")
        answers = {} if executor is None else executor.ask_workers(look, str(folder), token)
        for worker, problem in answers.items():
            if problem is None and not (folder / _file_of(worker)).is_file():
                problem = f"what it wrote there is not seen on {socket.gethostname()}"
            if problem is not None:  # in words, or an exception
                raise CheckpointError(
                    f"checkpoint={str(directory)!r} cannot be used by worker {worker}: {problem}. The client and all "
                    "workers must share the directory and may write to it"
                )
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be written to: {error}") from error
    finally:
        with suppress(OSError):
            store.discard(folder)


def look(folder: str, token: str, dask_worker: Any = None) -> str | None:
    """Read what the client wrote, and write something for it to read; returns what is wrong, in words."""
    try:
        store.zarr()
        if Path(folder, "client").read_text(encoding="ascii") != token:
            return "it sees another directory of that name"
        Path(folder, _file_of(dask_worker.address)).write_text(token, encoding="ascii")
    except FileNotFoundError:
        return f"on {socket.gethostname()} it does not see what the client wrote there"
    except (OSError, ImportError) as error:
        return f"on {socket.gethostname()}: {error}"
    return None


def _file_of(worker: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in worker)
