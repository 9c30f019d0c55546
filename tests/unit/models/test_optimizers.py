"""Optimizers with moments: the weights of torch.optim, gradient and update apart, and long coarse steps."""

import numpy as np
import pytest

from daskmgrit import PropagatorError, check_propagator, train_serially
from daskmgrit.models import MLP, AllExamples, Momentum, OptimizerStep, Serial
from daskmgrit.models.optimizers import OPTIMIZERS, Adam, make_rule
from daskmgrit.problems import adder, xor
from daskmgrit.recurrence.split_propagator import (
    SplitPropagator,
    advance_along,
    apply_advance,
    apply_gradient,
    is_split,
)
from daskmgrit.recurrence.step_length import StepLength

RULES = {
    "momentum": (make_rule("momentum", 0.1), ("SGD", {"lr": 0.1, "momentum": 0.9})),
    "nesterov": (make_rule("nesterov", 0.1), ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True})),
    "decay": (Momentum(0.1, 0.5, weight_decay=0.2), ("SGD", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2})),
    "adam": (make_rule("adam", 0.01), ("Adam", {"lr": 0.01})),
    "adam, decay": (
        Adam(0.01, (0.8, 0.9), 1e-3, 0.1),
        ("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ),
    "adamw": (make_rule("adamw", 0.01), ("AdamW", {"lr": 0.01})),
    "adamw, decay": (make_rule("adamw", 0.01, weight_decay=0.5), ("AdamW", {"lr": 0.01, "weight_decay": 0.5})),
}


def step(rule, data=None, dtype=np.float64, **options):
    rng = np.random.default_rng(4)
    model = MLP([3, 4, 2], "tanh", "cross_entropy", bias=True, reduction="mean")
    x, y = rng.standard_normal((8, 3)).astype(dtype), np.eye(2, dtype=dtype)[rng.integers(0, 2, 8)]
    weights = rng.standard_normal(model.size).astype(dtype)
    return OptimizerStep(model, weights, x, y, rule, Serial(8, 2) if data is None else data, **options)


@pytest.mark.parametrize("name", RULES)
def test_the_weights_are_those_of_torch(name):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    rule, (kind, options) = RULES[name]
    phi = step(rule)
    parameter = torch.tensor(phi.w0[: phi.size], requires_grad=True)
    optimizer = getattr(torch.optim, kind)([parameter], **options)
    for number, state in enumerate(train_serially(phi, phi.w0, 40)[1:]):
        gradient = phi.gradient(parameter.detach().numpy()[None], np.array([number]))
        parameter.grad = torch.tensor(gradient[0])
        optimizer.step()
        np.testing.assert_allclose(state[: phi.size], parameter.detach().numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("data", [None, AllExamples()])
@pytest.mark.parametrize("name", RULES)
def test_a_step_is_its_two_parts(name, data, dtype):
    phi = step(RULES[name][0], data, dtype)
    assert isinstance(phi, SplitPropagator)
    states = train_serially(phi, phi.w0, 9)
    assert states.dtype == dtype
    index = np.arange(9)
    gradients = apply_gradient(phi, states[:-1], index)
    assert np.array_equal(apply_advance(phi, states[:-1], gradients, index), states[1:])
    assert np.array_equal(advance_along(phi, states[:1], gradients, index), states)
    check_propagator(phi, phi.w0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_coarse_step_is_as_many_updates_with_one_gradient(name):
    phi = step(make_rule(name, 0.01), length=StepLength((3, 2), cap=4))
    state = train_serially(phi, phi.w0, 6)[-1:]
    for level, taken in ((1, 3), (2, 4)):
        index = np.array([2])
        new, gradient = state, phi._gradient(state, index, level)
        for update in range(taken):
            new = phi.advance(new, gradient, index * phi.length(level) + update)
        assert np.array_equal(phi(state, index, level), new)


def test_a_second_moment_that_cannot_be_is_raised():
    """Iterates of MGRIT may have one that is far too small for the first: a step would be huge."""
    phi = step(Adam(0.01))
    state = train_serially(phi, phi.w0, 6)[-1:].copy()
    state[:, 2 * phi.size :] = 0.0
    moved = phi(state, np.array([6]), 0)[:, : phi.size] - state[:, : phi.size]
    assert np.abs(moved).max() < 1.0


def test_the_initial_state_and_the_problems():
    problem = xor()
    phi = problem.optimizer("adam")
    assert np.array_equal(phi.w0[:16], problem.w0)
    assert not phi.w0[16:].any()
    assert phi.rule.rate == 1e-3
    assert isinstance(phi.data, AllExamples)
    assert problem.optimizer("nesterov").rule == Momentum(0.1, nesterov=True)
    assert problem.optimizer("momentum", momentum=0.5).rule == Momentum(0.5, 0.5)
    assert problem.optimizer("adamw", 0.2, weight_decay=0.1).rule == Adam(0.2, weight_decay=0.1, decoupled=True)
    batches = adder().optimizer("adam", batch=7, dtype=np.float32)
    assert batches.data == Serial(500, 7)
    assert batches.w0.dtype == np.float32
    with pytest.raises(ValueError, match=r"optimizer='lion' is not known: give one of momentum, nesterov, adam, adamw"):
        problem.optimizer("lion")
    for options, said in (({"rate": 0.0}, "rate=0.0"), ({"rate": 1.0, "betas": (0.9, 1.0)}, "betas=1.0")):
        with pytest.raises(ValueError, match=said):
            Adam(**options)


def test_fingerprints_tell_steps_apart():
    found = {step(rule).fingerprint() for rule, _ in RULES.values()}
    assert len(found) == len(RULES)
    assert step(RULES["adam"][0]).fingerprint() == step(RULES["adam"][0]).fingerprint()


class Wrong:
    """A propagator in two parts that breaks its contract."""

    def __init__(self, gradient):
        self.given = gradient

    def __call__(self, weights, index, level):
        return weights

    def gradient(self, weights, index):
        return self.given(weights)

    def advance(self, state, gradient, index):
        return state - gradient


def write(weights):
    weights *= 2
    return weights


@pytest.mark.parametrize(
    ("gradient", "said"),
    [
        (lambda weights: weights[:1], r"of shape \(1, 2\) and dtype float64 for states of shape \(3, 2\)"),
        (lambda weights: weights.astype(np.float32), "dtype float32"),
        (lambda weights: None, "returned NoneType"),
        (write, "wrote to its input"),
    ],
)
def test_gradients_that_break_the_contract(gradient, said):
    phi = Wrong(gradient)
    assert is_split(phi)
    assert not is_split(lambda weights, index, level: weights)
    with pytest.raises(PropagatorError, match=said):
        apply_gradient(phi, np.ones((3, 2)), np.arange(3))
