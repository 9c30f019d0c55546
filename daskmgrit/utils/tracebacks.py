"""Tracebacks that show the user's own code, not the code that runs it."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

__all__ = ["shorten"]

_PACKAGES = [Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")]
# Code between a solve and Phi: this package, Dask, and threads.
_FOLDERS = (
    Path(__file__).parents[1],
    *(packages / name for packages in _PACKAGES for name in ("dask", "distributed", "tornado")),
    Path(sysconfig.get_paths()["stdlib"]) / "concurrent",
)
_FILES = tuple(str(Path(sysconfig.get_paths()["stdlib"]) / name) for name in ("threading.py", "contextlib.py"))
_INTERNAL = (*(f"{folder}{os.sep}" for folder in _FOLDERS), *_FILES)


def shorten(error: BaseException) -> None:
    """Remove the frames of this package and of Dask from an error and all its causes.

    Examples
    --------
    >>> import traceback, daskmgrit as dm
    >>> def phi(weights, index, level):
    ...     raise RuntimeError("no")
    >>> try:
    ...     dm.train_serially(phi, [1.0], 2)
    ... except RuntimeError as error:
    ...     shorten(error)
    ...     [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    ['<module>', 'phi']
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _joined(list(_own(error.__traceback__)))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]


def _own(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_INTERNAL):
            yield traceback
        traceback = traceback.tb_next


def _joined(parts: list[TracebackType]) -> TracebackType | None:
    made: TracebackType | None = None
    for part in reversed(parts):
        made = TracebackType(made, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return made
