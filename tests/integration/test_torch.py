"""A torch.optim loop on a cluster."""

import daskmgrit as dm
from tests.support.torch_training import BATCH, OPTIMIZERS, STEPS, X, Y, assert_same, cross_entropy, loop, network


def test_on_a_cluster(client):
    make = OPTIMIZERS["adam"]
    phi = dm.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    result = dm.MGRIT(phi, STEPS, max_levels=3).solve(phi.w0, "constant", client=client, chunks=2)
    module = network()
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))


# -- what is refused -----------------------------------------------------------------------------------------------
