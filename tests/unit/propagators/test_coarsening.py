"""``phi.with_coarsening``: the same propagator for a solver with other factors."""

import cloudpickle
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Serial, Window
from daskmgrit.problems import adder
from daskmgrit.recurrence.step_length import made_for, takes_any_coarsening
from tests.support.optional import need

FACTORS = (4, 2)


def descend(w):
    return w - 0.01 * np.sin(w)


def function(coarsening):
    phi = dm.from_function(descend, vectorized=True, coarsening=coarsening, cap=6)
    return phi, np.linspace(1, 2, 5)


def moments(coarsening):
    phi = adder().optimizer("adam", coarsening=coarsening, cap=6)
    return phi, phi.w0


def estimator(coarsening, name="MLPClassifier"):
    need("sklearn", "digits")
    from sklearn import linear_model, neural_network

    x = np.linspace(-1, 1, 40).reshape(20, 2)
    made = {
        "MLPClassifier": lambda: neural_network.MLPClassifier((3,), random_state=0),
        "SGDClassifier": lambda: linear_model.SGDClassifier(random_state=0),
    }[name]()
    phi = dm.from_estimator(made, x, x[:, 0] > 0, batch=5, coarsening=coarsening, cap=6)
    return phi, phi.w0


def linear(coarsening):
    return estimator(coarsening, "SGDClassifier")


def torch_loop(coarsening):
    torch = need("torch", "torch")
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1).double()
    x = torch.linspace(-1, 1, 40).double().reshape(20, 2)
    rule = Window(Serial(20, 2), coarsening)
    phi = dm.torch.propagator(
        module,
        torch.nn.functional.mse_loss,
        torch.optim.SGD(module.parameters(), lr=0.01),
        (x, x[:, :1]),
        batch=rule,
        coarsening=coarsening,
        cap=6,
    )
    return phi, phi.w0


def squares(params, inputs, targets):
    return ((inputs @ params - targets) ** 2).mean()


def jax_loop(coarsening):
    need("jax", "jax")
    optax = need("optax", "jax")
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(20, 2)
    phi = dm.jax.propagator(
        squares, np.ones(2, np.float32), optax.sgd(0.01), (x, x[:, 0]), batch=4, coarsening=coarsening, cap=6
    )
    return phi, phi.w0


@pytest.mark.parametrize("make", [function, moments, estimator, linear, torch_loop, jax_loop])
def test_it_is_that_which_is_made_for_these_factors(make):
    (phi, w0), (other, _) = make(2), make(FACTORS)
    states, index = np.stack([w0, 1.01 * w0]).astype(w0.dtype), np.arange(2)
    before = [np.array(phi(states, index, level)) for level in range(4)]
    made = phi.with_coarsening(FACTORS)
    for each in (made, cloudpickle.loads(cloudpickle.dumps(made)), phi.with_coarsening(list(FACTORS))):
        for level in range(4):
            assert np.array_equal(each(states, index, level), other(states, index, level))
    assert not np.array_equal(made(states, index, 1), before[1])
    # The one that it is made from stays as it is.
    for level in range(4):
        assert np.array_equal(phi(states, index, level), before[level])
    dm.MGRIT(made, 64, list(FACTORS))
    with pytest.raises(ValueError, match=r"phi\.with_coarsening"):
        dm.MGRIT(phi, 64, list(FACTORS))


def test_what_can_be_had_for_any_is_made_and_all_else_stays():
    phi, _ = function(4)
    assert takes_any_coarsening(phi)
    assert made_for(phi, (4, 4)) is phi
    assert made_for(phi, 8).length(2) == 64
    assert not takes_any_coarsening(descend)
    assert made_for(descend, 8) is descend
