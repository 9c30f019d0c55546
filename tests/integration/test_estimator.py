"""An estimator of scikit-learn trained on a cluster."""

import numpy as np

import daskmgrit as dm
from tests.support.estimators import BATCH, CASES, serial, weights


def test_on_a_cluster(client):
    make, (x, y) = CASES["constant"]
    phi = dm.from_estimator(make(), x, y, BATCH)
    result = dm.MGRIT(phi, 16, max_levels=2).solve(phi.w0, "constant", client=client, chunks=2)
    np.testing.assert_allclose(weights(phi.estimator(result.final)), weights(serial(make(), x, y, 0, 16)), atol=1e-6)
