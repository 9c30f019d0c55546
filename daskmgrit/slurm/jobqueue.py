"""dask-jobqueue, imported without what its import does to the process.

Its import sets a handler of SIGINT, so Ctrl-C would end the interpreter instead of raising KeyboardInterrupt; the
handler before is set again here. (It also puts its defaults, as comments, into the user's ``jobqueue.yaml`` if there is
none.)
"""

from __future__ import annotations

import signal
import sys
import threading

__all__ = ["JobQueueCluster", "JobQueueJob"]

if "dask_jobqueue" not in sys.modules and threading.current_thread() is not threading.main_thread():
    raise RuntimeError(
        "dask_jobqueue can be imported in the main thread only, since it sets a signal handler: import "
        "SLURMCluster from daskmgrit.slurm there first"
    )
_handler = signal.getsignal(signal.SIGINT)
try:
    from dask_jobqueue.slurm import SLURMCluster as JobQueueCluster
    from dask_jobqueue.slurm import SLURMJob as JobQueueJob
except ModuleNotFoundError as error:
    if error.name != "dask_jobqueue":
        raise
    raise ImportError("SLURM needs dask-jobqueue, which is not installed: pip install 'daskmgrit[slurm]'") from None
finally:
    if _handler is not None and signal.getsignal(signal.SIGINT) is not _handler:
        signal.signal(signal.SIGINT, _handler)
