"""Ctrl-C on the command line: one line and status 130, with the workers that were started gone."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from daskmgrit.executors.watchdog import bounded

__all__ = ["quiet_end", "spared"]


@contextmanager
def spared() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started within: they end with this one, in order.

    A terminal sends it to all processes of the foreground. Here it is put off until the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting it later would let the signal through to the process that is started then.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def quiet_end(client: Any = None) -> Iterator[None]:
    """When Ctrl-C ends the block, let what is around it close, without a second one and without Dask's log of losses.

    Parameters
    ----------
    client : distributed.Client, optional
        Of a cluster that ends with the block: its workers are to be quiet, too.
    """
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _hush()
        if client is not None:
            with suppress(Exception):
                bounded(client, 2, client.run, _hush)
        raise


def _hush() -> None:
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
