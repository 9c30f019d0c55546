"""``daskmgrit solve --slurm``: a SLURM cluster for one solve."""

from __future__ import annotations

import getpass
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from daskmgrit.cli.connection import page_beside
from daskmgrit.cli.ends import note
from daskmgrit.cli.interrupt import quiet_end
from daskmgrit.utils.config import setting
from daskmgrit.utils.validation import integer_option

__all__ = ["slurm_client"]


class Terminated(SystemExit):
    """The end of the process by a signal."""


@contextmanager
def slurm_client(workers: int | None, timeout: float | None = None) -> Iterator[Any]:
    """Start workers as SLURM jobs, and yield a client when they have come; the jobs end with the context.

    Parameters
    ----------
    workers : int or None
        Number of workers, by default those of ``daskmgrit.slurm.jobs`` jobs.
    timeout : float, optional
        Seconds to wait for them, by default ``daskmgrit.slurm.wait``.

    Raises
    ------
    ClusterError
        If they do not come; the message quotes SLURM on their jobs.
    """
    from distributed import Client

    from daskmgrit.slurm.cluster import SLURMCluster

    options = setting("daskmgrit.slurm")
    jobs = integer_option("daskmgrit.slurm.jobs", options["jobs"], 1, "it is the number of SLURM jobs to submit")
    with _terminable(), SLURMCluster() as cluster:
        jobs = math.ceil(workers / cluster.processes) if workers else jobs
        minimum = jobs * cluster.processes
        if options["minimum"] is not None:
            minimum = integer_option(
                "daskmgrit.slurm.minimum", options["minimum"], 1, "no more workers than the jobs have", most=minimum
            )
        note(cluster.what_is_started(jobs, workers))
        cluster.scale(jobs=jobs)
        cluster.wait_for_workers(minimum, timeout)
        with Client(cluster) as client, quiet_end(client):
            here, link = f"{getpass.getuser()}@{socket.gethostname()}", page_beside(cluster.dashboard_link)
            port = urlsplit(link).port
            note(
                f"{len(client.nthreads())} workers have come; dashboard {link}, from elsewhere after "
                f"ssh -N -L {port}:127.0.0.1:{port} {here}",
            )
            yield client


@contextmanager
def _terminable() -> Iterator[None]:
    """Unwind the stack at SIGTERM or a lost terminal, so that this process's jobs end with it."""

    def end(number: int, frame: Any) -> None:
        raise Terminated(128 + number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
