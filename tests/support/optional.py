"""Packages that only some of the extras bring."""

import pytest


def need(name, extra):
    """Return a module, or skip the test or the file that needs it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[{extra}]'")
