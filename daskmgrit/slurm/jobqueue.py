"""dask-jobqueue, imported without its side effects on the process.

Its import sets a handler of SIGINT: Ctrl-C would then end the interpreter instead of raising KeyboardInterrupt, and the
import would fail off the main thread, where workers unpickle. Here it sets none. (It also writes its defaults, as
comments, into the user's ``jobqueue.yaml`` if there is none.)
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from daskmgrit.utils.install_hint import install_hint

__all__ = ["JobQueueCluster", "JobQueueJob"]

_set, _here = signal.signal, threading.get_ident()


def _set_elsewhere(number: int, handler: Any) -> Any:
    """Set a signal handler for any other thread."""
    return signal.getsignal(number) if threading.get_ident() == _here else _set(number, handler)


try:
    signal.signal = _set_elsewhere  # type: ignore[assignment]
    from dask_jobqueue.slurm import SLURMCluster as JobQueueCluster
    from dask_jobqueue.slurm import SLURMJob as JobQueueJob
except ModuleNotFoundError as error:
    if error.name != "dask_jobqueue":
        raise
    raise ImportError(f"SLURM needs dask-jobqueue, which is not installed: {install_hint('slurm')}") from None
finally:
    signal.signal = _set
