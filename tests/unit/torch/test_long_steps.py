"""Solver 4 in PyTorch: coarse steps of full length, as the built-in network has them."""

import pickle

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Serial, Window
from daskmgrit.problems import PROBLEMS
from tests.support.torch_training import BATCH, X, Y, build, nn, optim, torch

XOR = PROBLEMS["xor"]()


def xor_loss(outputs, targets):
    return 0.5 * ((outputs - targets) ** 2).sum()


def xor_in_torch(**options):
    """XOR's net with the weights of the built-in one, which go the other way round."""
    phi = XOR.propagator("1")
    inner, outer = XOR.w0[:12].reshape(3, 4), XOR.w0[12:].reshape(4, 1)
    module = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.Sigmoid(), nn.Linear(4, 1, bias=False), nn.Sigmoid()
    ).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(inner.T.copy()))
        module[2].weight.copy_(torch.tensor(outer.T.copy()))
    data = torch.tensor(np.array(phi.x)), torch.tensor(np.array(phi.y))
    return build(module, xor_loss, lambda weights: optim.SGD(weights, lr=1.0), data, coarsening=4, **options)


@pytest.mark.parametrize("method", ["chebyshev", "substeps", ("capped", "capped", "chebyshev")])
def test_cycles_are_those_of_the_built_in_network(method):
    known = XOR.propagator("4", coarsening=4, coarse=method, max_learning_rate=5.0, max_stages=1000)
    phi = xor_in_torch(coarse=method, max_rate=5.0)
    assert [phi.stages(level) for level in range(6)] == [known.stages(level) for level in range(6)]
    for given in (phi, pickle.loads(pickle.dumps(phi))):
        ours = dm.MGRIT(given, 200, coarsening=4).solve(phi.w0, "constant", maxiter=6, chunks=2)
        theirs = dm.MGRIT(known, 200, coarsening=4).solve(XOR.w0, "constant", maxiter=6, chunks=2)
        np.testing.assert_allclose(ours.residuals, theirs.residuals, rtol=1e-5)
        assert ours.critical_path == theirs.critical_path
        assert ours.phi_evaluations == theirs.phi_evaluations


def test_the_rate_is_estimated():
    phi = xor_in_torch(coarse="chebyshev")
    estimate = dm.estimate_max_rate(phi.at_rate, phi.w0, 1.0)
    assert phi.long.rule.max_rate == estimate.max_rate
    assert phi.with_coarsening(2).stages(6) == phi.stages(3) > 1


def test_batches_in_windows_and_decay():
    data = Window(Serial(len(X), BATCH), size=4)

    def sgd(weights):
        return optim.SGD(weights, lr=0.02, weight_decay=1e-3)

    phi = build(optimizer=sgd, batch=data, coarse="chebyshev", max_rate=0.1)
    states, index = phi.to_block(np.stack((phi.w0, 1.1 * phi.w0))), np.arange(2)
    capped = build(optimizer=sgd, batch=data, cap=2)
    # On level 1 both are plain steps, of two fine ones.
    torch.testing.assert_close(phi(states, index, 1), capped(states, index, 1), rtol=1e-12, atol=1e-14)
    assert phi.stages(4) > 1
    assert dm.MGRIT(phi, 64).solve(phi.w0, "constant").converged


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": lambda weights: optim.SGD(weights, lr=0.1, momentum=0.9)}, ["momentum", "cap"]),
        ({"optimizer": lambda weights: optim.Adam(weights)}, ["coarse='chebyshev'", "cap"]),
        ({"schedule": lambda step: 0.9**step}, ["schedule"]),
        ({"cap": 4}, ["cap=4", "full length"]),
        ({"coarse": "long"}, ["coarse='long'", "chebyshev"]),
        ({"coarse": "capped", "max_rate": 2.0}, ["max_rate=2.0", "cap"]),
        ({"max_rate": -1.0}, ["max_rate=-1.0"]),
    ],
)
def test_what_does_not_go_together(options, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        build(**({"coarse": "chebyshev"} | options), data=(X, Y))
    assert all(word in str(error.value) for word in words)
