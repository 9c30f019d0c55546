"""A program that runs for a step: its bounded input and output, and its end with all its child processes.

It has a mark in its environment, which its child processes inherit, also in their own sessions. When the program is not
needed any more, all processes with its mark are killed. The same happens when this process ends in any way: a process
that watches it does so (:mod:`daskmgrit.propagators.watch`).
"""

from __future__ import annotations

import atexit
import itertools
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from daskmgrit.propagators import watch

__all__ = ["Ended", "Interrupted", "TooLong", "TooMuch", "allow_programs", "end_programs", "run_program"]

# Bytes that are kept of the end of what is not the state.
TAIL = 8000
# Bytes of messages after which a program is taken to be out of hand.
MESSAGES = 1 << 26
# Processes that a program leaves are looked for if that takes at most this share of its time.
SHARE = 0.05
# Seconds after which a program is looked after, if it says nothing.
PULSE = 0.5
# Seconds for the threads of an interrupted solve to end.
GRACE = 10.0


class TooLong(Exception):
    """The program did not end in time, and was killed; or it ended and `left` a process that holds its output open."""

    def __init__(self, left: bool = False) -> None:
        super().__init__(left)
        self.left = left


class TooMuch(Exception):
    """The program wrote more than a state takes, or endless messages, and was killed; `limit` is in bytes."""

    def __init__(self, stream: str, limit: int) -> None:
        super().__init__(stream, limit)
        self.stream, self.limit = stream, limit


class Interrupted(Exception):
    """The solve that wanted the program has ended."""


class Ended(NamedTuple):
    """The end of a program: exit status, standard output (its end, if that is not the state), end of standard error."""

    status: int
    out: bytes
    err: bytes


_numbers = itertools.count()
_lock = threading.Lock()
_running: dict[str, subprocess.Popen[bytes] | None] = {}
# Until then the threads of a solve that was interrupted may still ask for the next step.
_refused_until = 0.0
# Seconds that it took, when it was last done, to look for what programs have left.
_search = 0.0
# The watcher of this process, and the mark of all programs that it starts.
_watcher: tuple[str, subprocess.Popen[bytes]] | None = None


def end_programs() -> None:
    """End all programs of this process: Ctrl-C has ended the solve, but not the threads that wait for them."""
    global _refused_until
    with _lock:
        _refused_until = time.monotonic() + GRACE
        running = dict(_running)
    for mark, process in running.items():
        if process is not None:
            _kill(process, mark)


def allow_programs() -> None:
    """Let threads run programs again: a new solve begins."""
    global _refused_until
    _refused_until = 0.0


def run_program(
    words: Sequence[str], state: bytes, environment: Mapping[str, str] | None, timeout: float, limit: int | None
) -> Ended:
    """Run a program, and wait for its end and the end of its output; kill processes that it leaves running.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments.
    state : bytes
        Its standard input.
    environment : mapping or None
        Environment variables to set besides those of this process.
    timeout : float
        Maximum number of seconds.
    limit : int or None
        Maximum number of bytes of standard output; None if only its end is needed.

    Raises
    ------
    OSError, ValueError
        If it could not be started.
    TooLong, TooMuch, Interrupted
        If it was ended.
    """
    start = time.monotonic()
    end = start + timeout
    ours = _watched()
    mark = f"{ours}-{next(_numbers)}"
    with _lock:
        # From before it is started until it has ended: all else with a mark of this process is left over.
        _running[mark] = None
    try:
        ended = _run(mark, words, state, environment, end, limit)
    finally:
        with _lock:
            del _running[mark]
    _end_left_over(ours, time.monotonic() - start)
    return ended


def _end_left_over(ours: str, seconds: float) -> None:
    """Kill processes that programs of this process left running, but not after each of many short programs."""
    global _search
    if _search > SHARE * seconds:
        return
    start = time.monotonic()
    watch.end_marked(lambda mark: mark.startswith(ours) and mark not in _running)
    _search = time.monotonic() - start


def _run(
    mark: str,
    words: Sequence[str],
    state: bytes,
    environment: Mapping[str, str] | None,
    end: float,
    limit: int | None,
) -> Ended:
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {}), watch.MARK: mark},
        start_new_session=True,
    )
    try:
        with _lock:
            _running[mark] = process
        out, err = _exchange(process, state, end, limit)
        status = process.wait(max(0.0, end - time.monotonic()))
        _check_wanted()
        return Ended(status, out, err)
    except BaseException as error:
        _kill(process, mark)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TooLong from None
        raise


def _check_wanted() -> None:
    # Requests of the main thread come after the interrupt, which ended what it was doing.
    if time.monotonic() < _refused_until and threading.current_thread() is not threading.main_thread():
        raise Interrupted


def _exchange(process: subprocess.Popen[bytes], state: bytes, end: float, limit: int | None) -> tuple[bytes, bytes]:
    """Write to a program and read from it until it has closed its output."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    left, out, err = memoryview(state), bytearray(), bytearray()
    said = 0
    with selectors.DefaultSelector() as selector:
        for stream, event in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, event)
        while selector.get_map():
            _check_wanted()
            _check_worker(process)
            seconds = end - time.monotonic()
            if seconds <= 0:
                raise TooLong(left=process.poll() is not None)
            for key, _ in selector.select(min(seconds, PULSE)):
                file: Any = key.fileobj
                if file is process.stdin:
                    try:
                        left = left[os.write(key.fd, left[: 1 << 16]) :] if left else left
                    except BrokenPipeError:  # it need not read
                        left = left[:0]
                    done = not left
                else:
                    data = os.read(key.fd, 1 << 16)
                    kept = out if file is process.stdout else err
                    kept += data
                    if kept is out and limit is not None:
                        if len(out) > limit:
                            raise TooMuch("output", limit)
                    else:
                        said += len(data)
                        if said > MESSAGES:
                            raise TooMuch("output" if kept is out else "error", MESSAGES)
                        if len(kept) > 2 * TAIL:
                            del kept[:-TAIL]
                    done = not data
                if done:
                    selector.unregister(file)
                    file.close()
    return bytes(out), bytes(err)


def _check_worker(process: subprocess.Popen[bytes]) -> None:
    """End a program whose Dask worker is closing: the scheduler runs its task again elsewhere."""
    if "distributed.worker" not in sys.modules:
        return
    from distributed import Status, get_worker

    try:
        worker = get_worker()
    except ValueError:
        return
    gone = (Status.closing, Status.closed, Status.failed)
    if worker.status not in gone:
        return
    _kill(process, "")
    # An error would be told to the scheduler as long as the worker is connected, and end the solve.
    while worker.status is Status.closing:
        time.sleep(0.05)
    raise Interrupted


def _kill(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a program, its session and all processes with its mark, and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    if mark:
        watch.end_marked(mark.__eq__)
    # Processes that could not be killed may still hold the pipes, so they are closed, not read to their end.
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)


def _watched() -> str:
    """Start the watcher of this process; return the mark of its programs."""
    global _watcher
    with _lock:
        _check_wanted()
        if _watcher is None or _watcher[1].poll() is not None:
            mark = uuid.uuid4().hex
            # Without the folder of that file on its path, and in a session of its own, which no Ctrl-C reaches.
            process = subprocess.Popen(
                [sys.executable, "-P", watch.__file__, mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
            _watcher = mark, process
        return _watcher[0]


@atexit.register
def _unwatch() -> None:
    """Let the watcher end."""
    global _watcher
    watcher, _watcher = _watcher, None
    if watcher is not None and watcher[1].stdin is not None:
        watcher[1].stdin.close()


def _forget() -> None:
    """Reset the state in the child of a fork: the parent's programs and watcher are not the child's."""
    global _lock
    _lock = threading.Lock()
    _running.clear()
    _unwatch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
