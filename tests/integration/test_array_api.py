"""Blocks of other array libraries on a cluster."""

import numpy as np
import pytest

import daskmgrit as dm

W0 = np.linspace(1.0, 2.0, 5)


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


def damp(weights, index, level):
    return weights * 0.9 ** (2**level)


def double_precision():
    import jax

    jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_on_a_cluster(name, client):
    xp = library(name)
    if name == "jax":
        with pytest.raises(dm.PropagatorError, match="JAX_ENABLE_X64=1"):
            dm.MGRIT(damp, 40).solve(xp.asarray(W0), client=client)
        client.run(double_precision)
    result = dm.MGRIT(damp, 40, max_levels=3).solve(xp.asarray(W0), "nested", client=client, chunks=3)
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(damp, W0, 40), atol=1e-8)
