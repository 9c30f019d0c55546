"""The environment of a measurement: cores, load, versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from dask.system import CPU_COUNT

__all__ = ["environment"]

PACKAGES = ("daskmgrit", "dask", "distributed", "numpy")


def environment() -> dict[str, Any]:
    """Return the number of cores, their load, versions, and the date."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": CPU_COUNT,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
