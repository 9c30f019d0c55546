"""Array libraries other than NumPy."""

import pytest


def library(name):
    """The array functions of a library."""
    if name == "strict":
        # Nothing but the standard: what is not in it raises.
        return pytest.importorskip("array_api_strict")
    if name == "torch":
        return pytest.importorskip("torch", reason="torch is not installed: pip install 'daskmgrit[torch]'")
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'daskmgrit[jax]'")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy
