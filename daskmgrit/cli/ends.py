"""The end of a command: its messages, their stream, and its status.

0 done (and converged), 1 not converged or diverged, 2 bad usage, 3 could not run, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import Any

import click

from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError

__all__ = [
    "STATUSES",
    "CannotRun",
    "Command",
    "NotConverged",
    "call_stacks",
    "documented_ends",
    "note",
    "run",
    "say",
    "usage_errors",
]

STATUSES = "Exit status: 0 done, 1 not converged or diverged, 2 bad usage, 3 could not run, 130 interrupted."


class CannotRun(click.ClickException):
    """A command could not do its work: no cluster, a missing package, no memory, or no place to write to."""

    exit_code = 3


class NotConverged(click.ClickException):
    """A command did its work, but nothing converged."""

    exit_code = 1


def say(text: Any) -> None:
    """Print a command's answer on standard output.

    It is no error if the reader has gone, as ``head`` does.

    Raises
    ------
    CannotRun
        If it can't be written.
    """
    with _said():
        click.echo(text)


@contextmanager
def _said() -> Iterator[None]:
    """Write to standard output as :func:`say` does.

    Raises
    ------
    CannotRun
        If it can't be written.
    """
    try:
        yield
    except BrokenPipeError:
        _give_up(sys.stdout)
    except OSError as error:
        _give_up(sys.stdout)
        raise CannotRun(f"standard output can't be written: {error.strerror}") from error


def note(text: Any) -> None:
    """Print a note for the user on standard error; ignore it if standard error cannot be written to."""
    try:
        click.echo(text, err=True)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: Any) -> None:
    """Discard further output to a stream: its buffer would fail again at the end of the process."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def _show_stacks(context: click.Context, option: click.Parameter, debug: bool) -> None:
    if debug:
        import dask

        dask.config.set({"daskmgrit.debug": True})


class Command(click.Command):
    """A command with the option ``--debug``; its help, written while options are read, ends as documented."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        debug: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True, "callback": _show_stacks}
        self.params.append(click.Option(["--debug"], help="Show the whole call stack of an error.", **debug))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options."""
        with _said():
            return super().make_context(*args, **extra)
        # The reader of the help has gone.
        raise click.exceptions.Exit(0)


def run(command: click.Command) -> int:
    """Run a command as the program; return its status, also if its error message can't be written."""
    try:
        return command.main(prog_name="daskmgrit", standalone_mode=False) or 0
    except click.ClickException as error:
        try:
            error.show()
        except OSError:
            _give_up(sys.stderr)
        return int(error.exit_code)
    except click.Abort:
        # While the options were read.
        note("interrupted")
        return 130


@contextmanager
def call_stacks() -> Iterator[None]:
    """Print the call stack of an error that ends the block, if the user asked for it."""
    try:
        yield
    except click.ClickException as error:
        # It imports Dask, which only an error needs here.
        from daskmgrit.utils.config import setting

        if setting("daskmgrit.debug"):
            with suppress(OSError):
                traceback.print_exception(error)
        raise


@contextmanager
def documented_ends() -> Iterator[None]:
    """End the block with a documented status in every case."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:
        note("; ".join(["interrupted", *getattr(error, "__notes__", [])]))
        raise click.exceptions.Exit(130) from None
    except (CheckpointError, ClusterError, PropagatorError, ImportError) as error:
        raise CannotRun(". ".join([str(error), *getattr(error, "__notes__", [])])) from error
    except MemoryError as error:
        words = f"out of memory ({error})" if str(error) else "out of memory"
        raise CannotRun(f"{words}: reduce --steps, or use a machine with more memory") from error


@contextmanager
def usage_errors(as_json: bool = False) -> Iterator[None]:
    """End the command as bad usage if a value is refused.

    Parameters
    ----------
    as_json : bool, default False
        Whether the answer is one object on standard output; output of the user's own code then goes to stderr.
    """
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            yield
    except (ValueError, TypeError) as error:
        if isinstance(error, PropagatorError):
            raise
        raise click.UsageError(str(error)) from error
