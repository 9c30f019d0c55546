"""Solver 4 in PyTorch: coarse steps of full length, as the built-in network has them."""

import pickle

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import deflated
from daskmgrit.models import Serial, Window
from daskmgrit.problems import PROBLEMS

from tests.support.torch_training import BATCH, X, Y, build, loop, network, nn, optim, sgd, torch  # isort: skip
from daskmgrit.torch.modules import to_state  # isort: skip

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


@pytest.mark.parametrize("options", [{"coarse": "chebyshev"}, {"coarse": "deflated", "steps": 100, "rank": 8}])
def test_modules_of_single_precision_as_pytorch_makes_them(options):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 1))
    data = torch.randn(32, 6), torch.randn(32, 1)
    phi = build(
        module, nn.functional.mse_loss, lambda weights: optim.SGD(weights, lr=0.05), data, coarsening=4, **options
    )
    assert phi.w0.dtype == np.float32
    result = dm.MGRIT(phi, 100, coarsening=4).solve(phi.w0, "constant", tol=1e-3)
    assert result.converged
    assert np.abs(result.final - dm.train_serially(phi, phi.w0, 100)[-1]).max() < 1e-3


def test_deflated_cycles_are_those_of_the_built_in_network():
    """With all 16 curvatures, because these weights have another order and few are found from other vectors."""
    known = XOR.propagator("1", coarsening=4, coarse="deflated", max_learning_rate=5.0, rank=16, steps=200)
    phi = xor_in_torch(coarse="deflated", max_rate=5.0, rank=16, steps=200)
    found, theirs = phi.long.rule.curvatures, known.coarse.curvatures
    np.testing.assert_allclose(found.values, theirs.values, atol=1e-6)
    for guess, other in (("constant", "constant"), (phi.rough_guess(200), known.rough_guess(200))):
        ours = dm.MGRIT(phi, 200, coarsening=4).solve(phi.w0, guess, maxiter=5, chunks=2)
        builtin = dm.MGRIT(known, 200, coarsening=4).solve(XOR.w0, other, maxiter=5, chunks=2)
        np.testing.assert_allclose(ours.residuals, builtin.residuals, rtol=1e-3, atol=1e-9)
        assert ours.preparation == builtin.preparation == theirs.preparation
        assert ours.critical_path == builtin.critical_path
        assert ours.phi_evaluations == builtin.phi_evaluations


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_deflated_steps_reach_the_serial_loop(dtype):
    """Batches; the same bits for every chunking, and for a state alone."""
    phi = build(
        network(dtype=dtype), batch=BATCH, coarsening=4, coarse="deflated", rank=8, steps=64, dtype=dtype, max_rate=0.5
    )
    assert phi.rough_guess(64).dtype == phi.w0.dtype
    assert phi.plain_rate == 0.1
    results = []
    for given, chunks, scheduler in ((phi, 1, "sync"), (pickle.loads(pickle.dumps(phi)), 3, "threads")):
        with dask.config.set(scheduler=scheduler):
            result = dm.MGRIT(given, 64, coarsening=4).solve(given.w0, given.rough_guess(64), chunks=chunks)
        assert result.reason == "tol" or dtype == torch.float32
        results.append(result)
    # PyTorch's own products in single precision may have other bits in blocks of another size.
    if dtype == torch.float64:
        assert np.array_equal(results[0].final, results[1].final)
        assert results[0].residuals == results[1].residuals
    else:
        np.testing.assert_allclose(results[0].final, results[1].final, atol=1e-5)
    module = network(dtype=dtype)
    loop(module, sgd(module.parameters()), 64)
    trained = to_state(list(module.parameters()))
    assert not np.allclose(trained, phi.w0, atol=1e-2)
    np.testing.assert_allclose(results[0].final, trained, atol=1e-7 if dtype == torch.float64 else 1e-4)
    states, index = phi.to_block(phi.w0 + 0.01 * np.arange(5, dtype=phi.w0.dtype)[:, None]), 3 * np.arange(5)
    together = phi(states, index, 2)
    apart = torch.cat([phi(states[k : k + 1], index[k : k + 1], 2) for k in range(5)])
    assert torch.equal(apart, together) if dtype == torch.float64 else torch.allclose(apart, together, atol=1e-5)


def test_a_deflated_step_on_a_device(monkeypatch):
    """Products by the device's own library, which has no CPU's name."""
    phi = xor_in_torch(coarse="deflated", max_rate=5.0, rank=4, steps=200)
    states, index = phi.to_block(phi.w0 * np.linspace(0.5, 1.5, 6)[:, None]), np.array([5, 0, 12, 1, 3, 0])
    expected = phi(states, index, 2)
    taken = []
    monkeypatch.setattr(deflated, "device", lambda block: taken.append(block) or torch.device("cpu", 0))
    torch.testing.assert_close(phi(states, index, 2), expected, rtol=1e-12, atol=1e-14)
    assert isinstance(taken[0], torch.Tensor)
    assert len(taken) == 1


def test_curvatures_are_of_the_mean_gradient_of_all_batches():
    made = [
        build(batch=batch, coarse="deflated", rank=4, steps=16, max_rate=0.5).long.rule.curvatures
        for batch in (None, BATCH, Window(Serial(len(X), BATCH), size=2))
    ]
    for other in made[1:]:
        np.testing.assert_allclose(other.values, made[0].values, rtol=1e-6)
        np.testing.assert_allclose(other.states, made[0].states, atol=1e-12)
    # Batches are seen together, as the examples of a window are.
    assert made[0].preparation == made[1].preparation


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
        ({"rank": 4}, ["rank=4", "deflated"]),
        ({"steps": 16}, ["steps=16", "deflated"]),
        ({"coarse": "deflated"}, ["steps=", "curvatures"]),
        ({"coarse": "deflated", "steps": 0}, ["steps=0"]),
        ({"coarse": ("deflated", "long"), "steps": 16}, ["coarse='long'", "chebyshev"]),
        ({"coarse": ("capped", "deflated")}, ["steps=", "curvatures"]),
        ({"coarse": "exponential"}, ["NumPy states", "deflated"]),
    ],
)
def test_what_does_not_go_together(options, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        build(**({"coarse": "chebyshev"} | options), data=(X, Y))
    assert all(word in str(error.value) for word in words)
