"""The client that a command solves on: of a running cluster, or of a new one on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import click
import dask

from daskmgrit.cli.ends import note
from daskmgrit.cli.interrupt import quiet_end
from daskmgrit.cli.local_cluster import local_cluster
from daskmgrit.errors import ClusterError
from daskmgrit.tls import read_keys

__all__ = ["command_client", "connect", "page_beside"]


# Seconds to wait for a scheduler's answer if nothing is said.
ANSWER = 10.0


def connect(scheduler: str, keys: str | None = None, timeout: float | None = None) -> Any:
    """Return a client of the cluster at an address; wait `timeout` seconds for its scheduler."""
    from distributed import Client
    from distributed.comm import parse_address, parse_host_port

    seconds = ANSWER if timeout is None else timeout
    try:
        # A client would find that out too late to be closed.
        parse_host_port(parse_address(scheduler)[1])
        # Not as default: one that fails to connect would stay it.
        security = read_keys(keys) if keys else None
        return Client(scheduler, timeout=seconds, set_as_default=False, security=security)
    except FileNotFoundError as error:
        raise click.UsageError(f"--keys {keys}: {error}") from error
    except (ValueError, TypeError) as error:
        raise click.UsageError(
            f"--scheduler {scheduler}: {error}; give tcp://HOST:PORT, or tls://HOST:PORT with --keys FOLDER"
        ) from error
    except Exception as error:
        # Mostly an OSError, but a client that is interrupted in connecting raises others, assertions among them.
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler} within {seconds:g} s: {error!r}; check the address, and that "
            "this machine can reach its port; or increase --timeout"
        ) from error


def page_beside(link: str) -> str:
    """Return the address of the page of a solve, given that of Dask's dashboard.

    Examples
    --------
    >>> page_beside("http://127.0.0.1:8787/status")
    'http://127.0.0.1:8787/mgrit'
    """
    return f"{link.rpartition('/')[0]}/mgrit"


@contextmanager
def command_client(
    scheduler: str | None,
    workers: int | None,
    keys: str | None,
    timeout: float | None = None,
    threads: int | None = None,
) -> Iterator[Any]:
    """Connect to a cluster, or start one on loopback; None if the user asked for neither: threads of this process."""
    if scheduler:
        with connect(scheduler, keys, timeout) as client, client.as_current(), quiet_end():
            link = client.dashboard_link
            note(f"cluster {scheduler}, {f'dashboard {page_beside(link)}' if link else 'no dashboard'}")
            yield client
    elif workers:
        from distributed import Client

        with (
            local_cluster(workers, timeout, threads=threads or 1) as cluster,
            Client(cluster) as client,
            quiet_end(client),
        ):
            each = f" with {threads} threads each" if threads else ""
            note(
                f"{workers} worker process{'es' * (workers > 1)}{each}, dashboard {page_beside(client.dashboard_link)}"
            )
            yield client
    else:
        with dask.config.set(scheduler="threads", num_workers=threads) if threads else nullcontext():
            yield None
