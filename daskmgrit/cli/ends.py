"""How commands end: what they say, on which stream, and with which status.

0 done (and converged), 1 not converged or diverged, 2 bad usage, 3 could not run, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import Any

import click

from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError

__all__ = ["STATUSES", "CannotRun", "documented_ends", "note", "say", "usage_errors"]

STATUSES = "Exit status: 0 done, 1 not converged or diverged, 2 bad usage, 3 could not run, 130 interrupted."


class CannotRun(click.ClickException):
    """A command could not do its work: no cluster, a package that is missing, no memory, nowhere to write to."""

    exit_code = 3


def say(text: Any) -> None:
    """Print what a command was asked for on standard output.

    A reader that has gone, as ``head`` does, is nothing to complain of.

    Raises
    ------
    CannotRun
        If it can't be written.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        _give_up(sys.stdout)
    except OSError as error:
        _give_up(sys.stdout)
        raise CannotRun(f"standard output can't be written: {error.strerror}") from error


def note(text: Any) -> None:
    """Print on standard error what a person may want to know; if nobody can read it, that is no harm."""
    try:
        click.echo(text, err=True)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: Any) -> None:
    """Have nothing more written to a stream: what it holds would fail again at the end of the process."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


@contextmanager
def documented_ends() -> Iterator[None]:
    """Have the block end as documented, whatever happens in it."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:
        note("; ".join(["interrupted", *getattr(error, "__notes__", [])]))
        raise click.exceptions.Exit(130) from None
    except (CheckpointError, ClusterError, PropagatorError, ImportError) as error:
        raise CannotRun(". ".join([str(error), *getattr(error, "__notes__", [])])) from error
    except MemoryError as error:
        words = f"out of memory ({error})" if str(error) else "out of memory"
        raise CannotRun(f"{words}: take fewer --steps, or a machine with more memory") from error


@contextmanager
def usage_errors(as_json: bool = False) -> Iterator[None]:
    """Have values that are refused end the command as bad usage.

    Parameters
    ----------
    as_json : bool, default False
        Whether the answer is one object on standard output: what the user's own code prints there goes to stderr.
    """
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            yield
    except (ValueError, TypeError) as error:
        if isinstance(error, PropagatorError):
            raise
        raise click.UsageError(str(error)) from error
