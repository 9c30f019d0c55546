"""The page ``/mgrit`` on the dashboard of Dask's scheduler: it listens to a solve and draws it, and changes nothing.

``reporter`` is the client's side, which reports what each cycle or sweep did; ``plugin`` the scheduler's, which sees
the tasks; ``history`` and ``window_run`` hold what is known of the last runs of either method; ``plots``,
``window_plots`` and ``page`` draw it. No set-up is needed; ``dask scheduler --preload daskmgrit.dashboard`` adds the
page before the first solve.
"""

from __future__ import annotations

from typing import Any

__all__ = ["dask_setup"]


def dask_setup(scheduler: Any) -> None:
    """Add the page to a scheduler as it starts; ``--preload`` calls this.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler.

    Raises
    ------
    NoPage
        If the scheduler has no dashboard to add a page to.
    """
    from daskmgrit.dashboard.page import install

    install(scheduler)
