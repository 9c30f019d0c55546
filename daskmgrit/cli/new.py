"""The command ``daskmgrit new``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from daskmgrit.cli.ends import CannotRun, Command, note, say

__all__ = ["FRAMEWORKS", "new"]

FRAMEWORKS = ("numpy", "torch", "jax")


@click.command(cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--framework",
    type=click.Choice(FRAMEWORKS),
    default="numpy",
    show_default=True,
    help="Library of the training loop.",
)
def new(file: Path, framework: str) -> None:
    """Write FILE, an example of a problem of your own, which `daskmgrit solve FILE:problem` solves at once.

    It is commented; put your own training loop in place of the example. An existing file is not overwritten.
    """
    if file.suffix != ".py":
        raise click.UsageError(f"FILE {file}: the name must end in .py")
    if not file.absolute().parent.is_dir():
        raise click.UsageError(f"FILE {file}: the folder {file.parent} does not exist")
    text = files("daskmgrit.cli").joinpath("templates", f"{framework}.py.txt").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text.replace("problem.py", str(file)))
    except FileExistsError:
        raise click.UsageError(f"FILE {file} already exists: give another name, or remove it") from None
    except BaseException as error:
        # Whole or not at all.
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CannotRun(f"{file} can't be written: {error.strerror}") from error
        raise
    note(f"written: {file}. Solve it by")
    say(f"daskmgrit solve {file}:problem --check")
