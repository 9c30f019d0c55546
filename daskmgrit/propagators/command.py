"""An existing program as a propagator: it is run once for every step of every state."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.errors import CommandError
from daskmgrit.propagators.function import Stretched, vectorize
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.array_api import Array
from daskmgrit.utils.validation import number_option

__all__ = ["Command", "from_command"]

FORMATS = ("npy", "text")
PLACES = ("{step}", "{level}", "{length}", "{input}", "{output}")
# What an error message shows of a program's output, from its end.
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
        How a state is written: NumPy's file format, or a number per line in decimal, precise to the bit.
    timeout : float, default 60
        Most seconds that a step may take. A program that takes longer is killed, with all that it started.
    coarsening, cap
        As in :func:`daskmgrit.from_function`, for a program with neither ``{level}`` nor ``{length}`` among its
        arguments: then ``{step}`` is the fine step, and coarse steps take its change several times.
    environment : dict, optional
        Environment variables to set besides those that there are.

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
    The program's failure is a :class:`daskmgrit.CommandError`, which names its exit status and what it wrote to
    standard error. Starting a program takes milliseconds, so this pays where a step takes longer.

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
            f"command={command!r} is one string: give a list of the program and its arguments, as no shell splits them"
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
            raise ValueError(f"command has {word}: what is filled in is {', '.join(PLACES)}")
    for name, value in (environment or {}).items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"environment has {name!r}: {value!r}: give texts")
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is not known: give one of {', '.join(FORMATS)}")
    timeout = number_option("timeout", timeout, "it is the most seconds that a step may take", above=0)
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
        with tempfile.TemporaryDirectory(prefix="daskmgrit-") as folder:
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
            where = f"level {level}, step {i}"
            out, err = self._run(words, b"" if "{input}" in used else state, where)
            if "{output}" in used:
                try:
                    out = files["{output}"].read_bytes()
                except FileNotFoundError:
                    raise CommandError(
                        f"{self._name()} wrote no file {{output}} ({where}){_shown('standard error', err)}"
                    ) from None
        return self._read(out, w, where, err)

    def _name(self) -> str:
        return f"command {self.words!r}"

    def _run(self, words: Sequence[str], state: bytes, where: str) -> tuple[bytes, bytes]:
        """Run the program; what it started dies with it if it takes too long."""
        environment = None if self.environment is None else {**os.environ, **self.environment}
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
        except OSError as error:
            raise CommandError(f"{self._name()} could not be started ({where}): {error}") from None
        try:
            out, err = process.communicate(state, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise CommandError(
                f"{self._name()} took longer than timeout={self.timeout:g} s ({where}) and was killed: raise timeout, "
                "or look why it hangs"
            ) from None
        except BaseException:
            _kill(process)
            raise
        if process.returncode:
            code = process.returncode
            how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
            raise CommandError(f"{self._name()} {how} ({where}){_shown('standard error', err)}")
        return out, err

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
            else:
                new = np.load(io.BytesIO(out), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise CommandError(
                f"{self._name()} returned what is no state in format {self.format!r} ({where}): {error}"
                f"{_shown('output', out)}{_shown('standard error', err)}"
            ) from None
        if new.shape != w.shape:
            raise CommandError(
                f"{self._name()} returned a state of shape {new.shape}, not {w.shape} ({where})"
                f"{_shown('standard error', err)}"
            )
        return new


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all of its session, and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    # A grandchild in a session of its own may still hold the pipes: they are closed, not read to their end.
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()


def _shown(name: str, data: bytes) -> str:
    text = data.decode(errors="replace").strip()
    return f"; its {name} ends: {text[-SHOWN:]}" if text else f"; its {name} is empty"
