"""Blocks of other array libraries on a cluster."""

import numpy as np
import pytest

import daskmgrit as dm
from tests.support.libraries import library

W0 = np.linspace(1.0, 2.0, 5)


def damp(weights, index, level):
    return weights * 0.9 ** (2**level)


def double_precision(on=True):
    import jax

    jax.config.update("jax_enable_x64", on)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_on_a_cluster(name, client):
    xp = library(name)
    if name == "jax":
        # Other tests may have turned it on in these processes.
        client.run(double_precision, False)
        with pytest.raises(dm.PropagatorError, match="JAX_ENABLE_X64=1"):
            dm.MGRIT(damp, 40).solve(xp.asarray(W0), client=client)
        client.run(double_precision)
    result = dm.MGRIT(damp, 40, max_levels=3).solve(xp.asarray(W0), "nested", client=client, chunks=3)
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(damp, W0, 40), atol=1e-8)
