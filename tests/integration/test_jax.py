"""An optax loop on a cluster."""

import daskmgrit as dm
from tests.support.jax_training import BATCH, OPTIMIZERS, STEPS, X, Y, assert_same, cross_entropy, loop, network


def test_on_a_cluster(client):
    phi = dm.jax.propagator(cross_entropy, network(), OPTIMIZERS["adam"], (X, Y), batch=BATCH, cap=8)
    result = dm.MGRIT(phi, STEPS, max_levels=3).solve(phi.w0, "constant", client=client, chunks=2)
    assert_same(phi.params(result.final), loop(network(), OPTIMIZERS["adam"], STEPS)[0])
