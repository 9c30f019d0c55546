"""The package's section of ``dask.config``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import dask
import yaml

__all__ = ["setting"]


def setting(name: str) -> Any:
    """Return an option of ``dask.config``: the user's value, else the default of ``daskmgrit.yaml``.

    Examples
    --------
    >>> setting("daskmgrit.worker-timeout")
    '60s'
    """
    # A block of `dask.config.set` that was the first to name the section takes it away at its end, defaults and all.
    dask.config.update(dask.config.config, _defaults(), priority="old")
    return dask.config.get(name)


@functools.cache
def _defaults() -> dict[str, Any]:
    with (Path(__file__).parents[1] / "daskmgrit.yaml").open(encoding="utf-8") as file:
        found: dict[str, Any] = yaml.safe_load(file)
    return found
