"""How commands end: what they say, on which stream, and with which status.

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
    """A command could not do its work: no cluster, a package that is missing, no memory, nowhere to write to."""

    exit_code = 3


class NotConverged(click.ClickException):
    """A command did its work, and nothing has converged."""

    exit_code = 1


def say(text: Any) -> None:
    """Print what a command was asked for on standard output.

    A reader that has gone, as ``head`` does, is nothing to complain of.

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
    """Print on standard error what a person may want to know; ignore it if standard error cannot be written to."""
    try:
        click.echo(text, err=True)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: Any) -> None:
    """Have nothing more written to a stream: what it holds would fail again at the end of the process."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def _show_stacks(context: click.Context, option: click.Parameter, debug: bool) -> None:
    if debug:
        import dask

        dask.config.set({"daskmgrit.debug": True})


class Command(click.Command):
    """A command with the option ``--debug``, whose help ends as documented: it is written while options are read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        debug: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True, "callback": _show_stacks}
        self.params.append(click.Option(["--debug"], help="Show the call stack of an error, whole.", **debug))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options."""
        with _said():
            return super().make_context(*args, **extra)
        # The reader of the help has gone.
        raise click.exceptions.Exit(0)


def run(command: click.Command) -> int:
    """Run a command as the program; return its status, which holds also where its error can't be written."""
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
    """Print the call stack of an error that ends the block, if that was asked for."""
    try:
        yield
    except click.ClickException as error:
        from daskmgrit.utils.config import setting

        if setting("daskmgrit.debug"):
            with suppress(OSError):
                traceback.print_exception(error)
        raise


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
