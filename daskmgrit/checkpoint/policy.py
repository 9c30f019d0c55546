"""Where and how often a solve saves a checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskmgrit.checkpoint.store import latest
from daskmgrit.utils.validation import brief, integer_option, number_option

__all__ = ["Checkpoint", "as_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a solve saves a checkpoint, from which another process can resume it.

    A checkpoint is saved after `every` cycles or `seconds`, whichever comes first, and when the solve ends.

    Parameters
    ----------
    path : str or path
        A directory that the client and all workers share. It is created if it is missing.
    every : int or None, default 10
        Save every N cycles; None leaves it to `seconds`.
    seconds : float or None, default 600
        Save when the last checkpoint, or the start, is this long ago; None leaves it to `every`. With both None only
        the end is saved.

    Examples
    --------
    >>> Checkpoint("run1", every=5).every
    5
    """

    path: str | os.PathLike[str]
    every: int | None = 10
    seconds: float | None = 600.0

    def __post_init__(self) -> None:
        try:
            name = os.fsdecode(self.path)
        except TypeError:
            name = ""
        if not name:
            raise ValueError(f"checkpoint={brief(self.path)} is not a path: give the name of a directory")
        path = Path(name).expanduser().absolute()
        object.__setattr__(self, "path", path)
        if self.every is not None:
            integer_option("every", self.every, 1, "save every N cycles; None: not by cycles")
        if self.seconds is not None:
            number_option("seconds", self.seconds, "save every N seconds; None: not by time", least=0)

    @property
    def directory(self) -> Path:
        """The directory, absolute."""
        return Path(self.path)

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint in the directory; None if there is none to resume from.

        Raises
        ------
        CheckpointError
            If the directory cannot be read.
        """
        return latest(self.directory)


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Return the Checkpoint for an argument `checkpoint`: a Checkpoint, the name of a directory, or None.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    return value if value is None or isinstance(value, Checkpoint) else Checkpoint(value)
