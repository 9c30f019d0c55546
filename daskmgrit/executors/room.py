"""A check, before anything is computed, that this machine can hold the states of a solve."""

from __future__ import annotations

import shutil
import tempfile

import dask

from daskmgrit.utils.units import size_in_words

__all__ = ["check_room"]

# States of fewer bytes fit anywhere.
SMALL = 1 << 28


def check_room(steps: int, coarsening: int, row_bytes: int, storage: str) -> None:
    """Check that the states fit into this machine's memory and its disk of temporary files together.

    Parameters
    ----------
    steps : int
        Number of steps, N.
    coarsening : int
        Coarsening factor of level 0.
    row_bytes : int
        Bytes of a state.
    storage : str
        ``"full"``: all states are held; ``"c-points"``: those at C-points.

    Raises
    ------
    MemoryError
        If they do not.
    """
    held = (steps if storage == "full" else steps // coarsening) * row_bytes
    if held < SMALL:
        return
    # Known to respect control groups; not imported where it is not needed.
    from distributed.system import MEMORY_LIMIT

    place = dask.config.get("temporary-directory", None) or tempfile.gettempdir()
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return  # the store for blocks says what is wrong with it
    if held > MEMORY_LIMIT + free:
        raise MemoryError(
            f"N = {steps} steps with storage={storage!r} hold at least {size_in_words(held)} of states; this machine "
            f"has {size_in_words(MEMORY_LIMIT)} of memory and {size_in_words(free)} in {place}. Use parallel Newton, "
            "which holds only a window, or a cluster"
        )
