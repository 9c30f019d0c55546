"""The package's section of ``dask.config``."""

from __future__ import annotations

from pathlib import Path

import dask
import yaml

__all__ = ["set_defaults"]


def set_defaults() -> None:
    """Add the defaults of daskmgrit.yaml below whatever the user has set."""
    path = Path(__file__).parents[1] / "daskmgrit.yaml"
    with path.open(encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    dask.config.update_defaults(defaults)
