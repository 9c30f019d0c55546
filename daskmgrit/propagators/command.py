"""An existing program as a propagator: it is run once for every step of every state."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.errors import CommandError
from daskmgrit.propagators.function import Stretched, vectorize
from daskmgrit.propagators.program import Interrupted, TooLong, TooMuch, run_program
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.array_api import Array
from daskmgrit.utils.validation import number_option

__all__ = ["Command", "from_command"]

FORMATS = ("npy", "text")
PLACES = ("{step}", "{level}", "{length}", "{input}", "{output}")
# Length of a program's output in an error message, from its end.
SHOWN = 2000


def from_command(
    command: Sequence[str | os.PathLike[str]],
    format: str = "npy",
    timeout: float = 60.0,
    *,
    coarsening: int | Sequence[int] = 2,
    cap: int | None = None,
    environment: dict[str, str] | None = None,
) -> Phi:
    """Make a propagator of a program that does one step, such as an existing simulation code.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments; no shell sees them. In an argument ``{step}`` becomes the source step on its
        level, ``{level}`` the level, ``{length}`` the fine steps that a step of the level stands for, ``{input}`` and
        ``{output}`` the names of files of the state before and after. Without ``{input}`` the state comes on standard
        input, without ``{output}`` it is read from standard output.
    format : {"npy", "text"}, default "npy"
        Format of a state: NumPy's file format, or a decimal number per line, bitwise exact.
    timeout : float, default 60
        Maximum number of seconds for a step. A program that takes longer is killed, with all its child processes.
    coarsening, cap
        As in :func:`daskmgrit.from_function`, for a program with neither ``{level}`` nor ``{length}`` among its
        arguments: then ``{step}`` is the fine step, and coarse steps take its change several times.
    environment : dict, optional
        Environment variables to set in addition to the existing ones.

    Returns
    -------
    callable
        ``phi(weights, index, level)``.

    Raises
    ------
    ValueError
        If an argument is out of range.
    TypeError
        If `command` is one string.

    Notes
    -----
    A failure of the program raises a :class:`daskmgrit.CommandError` with its exit status and its standard error.
    Starting a program takes milliseconds, so this pays if a step takes longer.

    A program that is no longer needed is killed with all processes that it started, also those in their own sessions.
    This happens after `timeout`, at Ctrl-C, and when the process that runs the program ends or is killed. Processes
    that it leaves running are killed after the step, or after one of the next steps if steps are so short that the
    search for them would take a notable part of the time. The program may write at most a state to standard output,
    unless the state goes to ``{output}``, and at most 64 MiB of messages. A nan or inf in the returned state ends the
    solve as ``"diverged"``.

    Examples
    --------
    >>> import sys
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> code = "import sys; [print(0.9 ** int(sys.argv[1]) * float(line)) for line in sys.stdin]"
    >>> phi = dm.from_command([sys.executable, "-c", code, "{length}"], format="text")
    >>> phi(np.array([[1.0, 2.0]]), np.array([0]), 1).round(2).tolist()
    [[0.81, 1.62]]
    """
    if isinstance(command, str | bytes | os.PathLike):
        raise TypeError(
            f"command={command!r} is one string: give a list of the program and its arguments, because no shell splits "
            "them"
        )
    words = []
    for word in command:
        if not isinstance(word, str | os.PathLike):
            raise TypeError(f"command has {word!r}: give the program and its arguments as texts, e.g. {str(word)!r}")
        words.append(os.fspath(word))
    if not words:
        raise ValueError("command=[] is empty: give a list of the program and its arguments")
    for word in words:
        # A word that is more than a name in braces may be a program text.
        if re.fullmatch(r"\{[a-z]+\}", word) and word not in PLACES:
            raise ValueError(f"command has {word}: use only the placeholders {', '.join(PLACES)}")
    for name, value in (environment or {}).items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"environment has {name!r}: {value!r}: give texts")
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is not known: give one of {', '.join(FORMATS)}")
    timeout = number_option("timeout", timeout, "it is the maximum number of seconds of a step", above=0)
    length = StepLength(coarsening, cap)
    run = Command(words, format, timeout, length, environment)
    if any("{level}" in word or "{length}" in word for word in words):
        return vectorize(run)
    return Stretched(run.fine, True, False, length)


class Command:
    """A program that takes one state one step further; see :func:`from_command`."""

    def __init__(
        self,
        words: Sequence[str],
        format: str,
        timeout: float,
        length: StepLength,
        environment: dict[str, str] | None,
    ) -> None:
        self.words, self.format, self.timeout = list(words), format, timeout
        self.length, self.environment = length, environment

    def __repr__(self) -> str:
        return f"Command({self.words!r})"

    def fine(self, w: Array, i: int) -> Array:
        """Return the state after a step of level 0."""
        return self(w, i, 0)

    def __call__(self, w: Array, i: int, level: int) -> Array:
        """Return the state after a step."""
        values: dict[str, Any] = {"{step}": i, "{level}": level, "{length}": self.length(level)}
        where = f"level {level}, step {i}"
        # A state with some room: for numbers of twice the size, for many digits, for a header.
        limit = (200 if self.format == "text" else 4 * w.itemsize) * w.size + (1 << 16)
        try:
            with tempfile.TemporaryDirectory(prefix="daskmgrit-", ignore_cleanup_errors=True) as folder:
                # With the suffix that NumPy gives to what it saves.
                end = ".npy" if self.format == "npy" else ".txt"
                files = {name: Path(folder, name.strip("{}") + end) for name in ("{input}", "{output}")}
                used = {name for name in files if any(name in word for word in self.words)}
                state = self._write(w)
                if "{input}" in used:
                    files["{input}"].write_bytes(state)
                words = list(self.words)
                for name, value in {**values, **files}.items():
                    words = [word.replace(name, str(value)) for word in words]
                given, written = b"" if "{input}" in used else state, "{output}" in used
                out, err = self._run(words, given, where, None if written else limit)
                if written:
                    out = self._output(files["{output}"], limit, where, err)
        except OSError as error:
            raise CommandError(
                f"no temporary files could be made for {self._name()} ({where}): {error}: make room in "
                f"{tempfile.gettempdir()}, or set TMPDIR"
            ) from None
        return self._read(out, w, where, err)

    def _name(self) -> str:
        return f"command {self.words!r}"

    def _run(self, words: Sequence[str], state: bytes, where: str, limit: int | None) -> tuple[bytes, bytes]:
        """Run the program; if it is cancelled, its child processes are killed with it."""
        try:
            status, out, err = run_program(words, state, self.environment, self.timeout, limit)
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{self._name()} could not be started ({where}): {error}: give the path of a program that exists on "
                "every worker"
            ) from None
        except TooLong as late:
            if late.left:
                how = (
                    f"has ended, but a process that it started still held its output open after "
                    f"timeout={self.timeout:g} s ({where}) and was killed: let the program wait for it, or give it "
                    "another output"
                )
            else:
                how = (
                    f"took longer than timeout={self.timeout:g} s ({where}) and was killed: increase timeout, or find "
                    "out why it hangs"
                )
            raise CommandError(f"{self._name()} {how}") from None
        except TooMuch as much:
            if much.limit == limit:
                why = "far more than a state takes, and was killed: write one state there, the rest to standard error"
            else:
                why = "and was killed: reduce its messages, or write them to a file"
            raise CommandError(
                f"{self._name()} wrote more than {much.limit} bytes to standard {much.stream} ({where}), {why}"
            ) from None
        except Interrupted:
            raise CommandError(f"{self._name()} was killed ({where}): the solve was interrupted") from None
        if status:
            how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            raise CommandError(
                f"{self._name()} {how} ({where}): run it by hand, or read its messages{_shown('standard error', err)}"
            )
        return out, err

    def _output(self, file: Path, limit: int, where: str, err: bytes) -> bytes:
        """Return what the program wrote to its file of output."""
        try:
            about = file.stat()
            # A pipe would have no end.
            problem = "" if stat.S_ISREG(about.st_mode) else "is not a regular file"
            problem = problem or (f"has {about.st_size} bytes, far more than a state" * (about.st_size > limit))
            data = b"" if problem else file.read_bytes()
        except FileNotFoundError:
            problem = "was not written"
        except OSError as error:
            problem = f"cannot be read: {error}"
        if problem:
            raise CommandError(
                f"{self._name()}: its file {{output}} {problem} ({where}): write one state to it"
                f"{_shown('standard error', err)}"
            )
        return data

    def _write(self, w: Array) -> bytes:
        if self.format == "text":
            return "".join(f"{value!r}\n" for value in w.tolist()).encode()
        buffer = io.BytesIO()
        np.save(buffer, w, allow_pickle=False)
        return buffer.getvalue()

    def _read(self, out: bytes, w: Array, where: str, err: bytes) -> Array:
        try:
            if self.format == "text":
                new = np.array([w.dtype.type(word) for word in out.decode().split()], w.dtype)
                shape, dtype = new.shape, w.dtype
            else:
                # The header first: memory for what it claims may not exist.
                shape, dtype = _header(out)
                file = io.BytesIO(out)
                new = np.load(file, allow_pickle=False) if shape == w.shape else w
                if shape == w.shape and (after := len(out) - file.tell()):
                    raise ValueError(f"{after} bytes come after the state")
        except (ValueError, EOFError) as error:
            raise CommandError(
                f"{self._name()} returned no valid state in format {self.format!r} ({where}): {error}"
                f"{_shown('output', out)}{_shown('standard error', err)}"
            ) from None
        if shape != w.shape:
            raise CommandError(
                f"{self._name()} returned a state of shape {shape}, not {w.shape} ({where}): write all weights as one "
                f"flat vector{_shown('standard error', err)}"
            )
        if dtype.newbyteorder("=") != w.dtype:
            raise CommandError(
                f"{self._name()} returned {dtype} for a state of {w.dtype} ({where}): let the program write "
                f"{w.dtype}, or give w0 as {dtype}"
            )
        return new.astype(w.dtype, copy=False)


def _header(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype in the header of an npy file.

    Raises
    ------
    ValueError
        If it is no npy file, or holds objects.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"its version of the format is {version}: write 1.0 or 2.0")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, dtype


def _shown(name: str, data: bytes) -> str:
    text = data.decode(errors="replace").strip()
    return f"; its {name} ends: {text[-SHOWN:]}" if text else f"; its {name} is empty"
