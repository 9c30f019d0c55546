"""JAX that is missing, or without double precision."""

import subprocess
import sys

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'daskmgrit[jax]'")
optax = pytest.importorskip("optax", reason="optax is not installed: pip install 'daskmgrit[jax]'")
jax.config.update("jax_enable_x64", True)


# -- what is refused -----------------------------------------------------------------------------------------------


def test_double_precision_that_is_not_on():
    code = """
import jax.numpy as jnp, optax, daskmgrit.jax
try:
    daskmgrit.jax.propagator(lambda p: (p**2).sum(), jnp.ones(3), optax.sgd(0.1), dtype="float64")
except ValueError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert 'jax.config.update("jax_enable_x64", True)' in out.stdout


@pytest.mark.parametrize("missing", ["jax", "optax"])
def test_without_jax(missing):
    code = f"import sys; sys.modules['{missing}'] = None\nimport daskmgrit.jax"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert "pip install 'daskmgrit[jax]'" in out.stderr
    assert missing in out.stderr
