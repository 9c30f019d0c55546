"""The directory of a solve's checkpoints: locked by one solve, writable, and shared by all workers."""

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
        what = "does not exist"
        if directory.is_dir():
            strays = [f"; {name} is {kind}, which no solve makes" for name, kind in store.strays(directory).items()]
            what = f"holds no complete checkpoint{''.join(strays[:3])}"
        if directory.is_file():
            what = "is a file, not a directory"
        raise CheckpointError(f"there is no checkpoint to resume from: {directory} {what}")
    return path


@contextmanager
def claim(directory: Path, resumes: bool, executor: Executor | None) -> Iterator[None]:
    """Lock a directory for one solve, and check that all workers can write to it.

    Parameters
    ----------
    directory : Path
        The directory.
    resumes : bool
        Whether the solve resumes from a checkpoint in it; else there must be none.
    executor : Executor or None
        Its workers write the checkpoints; None if only this process writes.

    Raises
    ------
    CheckpointError
        If it holds an unexpected checkpoint or other files, another solve writes to it, it cannot be written to, or a
        worker sees another directory.
    """
    if executor is not None:
        store.zarr()
    with _locked(directory, resumes):
        if not resumes:
            # Another solve may have saved one, and ended, before this one had the lock.
            _expect_none(directory)
        for name, kind in store.strays(directory).items():
            logger.warning("%s is %s, which no solve makes: it is left unchanged", directory / name, kind)
        store.clear(directory, None)
        _check_shared(directory, executor)
        yield


def try_directory(directory: Path, resumes: bool) -> None:
    """Check, as far as this process can, that a solve can use a directory: for an early error.

    Raises
    ------
    CheckpointError
        As `claim` does.
    """
    with _locked(directory, resumes):
        pass


@contextmanager
def _locked(directory: Path, resumes: bool) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = store.foreign(directory)
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be used: {error}") from error
    if others and not resumes:
        some = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise CheckpointError(
            f"checkpoint={str(directory)!r} holds something else ({some}): give a directory that is empty or missing"
        )
    if not resumes:
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
            f"checkpoint={str(directory)!r} already holds a checkpoint, {path.name}: resume "
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
            f"checkpoint={str(directory)!r} is in use by another solve: wait for its end, or give another directory"
        ) from None
    except OSError:
        # A file system without locks; names that are no other solve's keep files apart there too.
        return


def _check_shared(directory: Path, executor: Executor | None) -> None:
    """Check that all workers see this directory, and that this process sees their files in it."""
    token = os.urandom(6).hex()
    folder = directory / f"visible-{token}"
    try:
        folder.mkdir()
        (folder / "client").write_text(token, encoding="ascii")
        answers = {} if executor is None else executor.ask_workers(look, str(folder), token)
        for worker, problem in answers.items():
            if problem is None and not (folder / _file_of(worker)).is_file():
                problem = f"{socket.gethostname()} does not see the file that it wrote there"
            if problem is not None:  # in words, or an exception
                raise CheckpointError(
                    f"checkpoint={str(directory)!r} cannot be used by worker {worker}: {problem}. Give a directory "
                    "that the client and all workers share and can write to"
                )
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(directory)!r} cannot be written to: {error}") from error
    finally:
        with suppress(OSError):
            store.discard(folder)


def look(folder: str, token: str, dask_worker: Any = None) -> str | None:
    """Read the client's file and write one for the client; return the problem in words, None if there is none."""
    try:
        store.zarr()
        if Path(folder, "client").read_text(encoding="ascii") != token:
            return "it sees another directory of that name"
        Path(folder, _file_of(dask_worker.address)).write_text(token, encoding="ascii")
    except FileNotFoundError:
        return f"on {socket.gethostname()} it does not see the client's file there"
    except (OSError, ImportError) as error:
        return f"on {socket.gethostname()}: {error}"
    return None


def _file_of(worker: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in worker)
