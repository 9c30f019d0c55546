"""The amplification of a small change by a run of steps."""

import numpy as np
import pytest

from daskmgrit.problems import digits, xor
from daskmgrit.recurrence.amplification import run_of


def linear(*factors):
    """The recurrence of a diagonal matrix."""
    return lambda weights, index, level: weights * np.array(factors)


@pytest.mark.parametrize(
    ("factors", "amplifies"),
    [
        ((0.9, 0.5), False),
        ((1.0, -0.9), False),
        # Negative curvature, which training passes, grows slowly and does not turn around.
        ((1.03, 0.5), False),
        ((1.2, 0.5), True),
        ((-1.05, 0.5), True),
        ((3.0, 3.0), True),
    ],
)
def test_linear_recurrences(factors, amplifies):
    run = run_of(linear(*factors), np.ones(2), 0, 48)
    assert (run.found() is not None) is amplifies
    # The oracle: the largest factor takes over.
    assert run.halves()[1] == pytest.approx(np.abs(factors).max(), rel=1e-3)


def test_a_run_beyond_the_range_of_numbers():
    run = run_of(linear(1e200, 1.0), np.ones(2), 0, 32)
    assert not run.finite
    assert run.found().total == run.total == np.inf
    assert run.found().cause == "growth"
    assert len(run.logs) < 3


def test_steps_that_forget_their_state_amplify_nothing():
    run = run_of(lambda weights, index, level: np.ones_like(weights), np.ones(2), 0, 32)
    assert run.found() is None
    assert run.total == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1e6])
def test_any_precision_and_magnitude(dtype, size):
    run = run_of(lambda weights, index, level: weights * weights.dtype.type(-1.5), np.full(4, size, dtype), 0, 32)
    assert run.halves() == pytest.approx((1.5, 1.5), rel=1e-3)
    assert run.turns == pytest.approx([-1.0] * 32, abs=1e-3)


def test_the_package_s_problems_at_their_own_rates():
    for problem in (xor(), digits()):
        phi = problem.propagator()
        serial = run_of(phi, problem.w0, 0, 256)
        assert serial.found() is None
        for level in range(1, 6):
            assert not run_of(phi, problem.w0, level, 16).is_beyond(serial, 2**level)
        # First steps of Adam amplify by thousands, and then no more.
        for name in ("adam", "momentum"):
            phi = problem.optimizer(name)
            assert run_of(phi, phi.w0, 0, 256).found() is None


def test_a_learning_rate_that_is_much_too_large():
    phi = digits().propagator(learning_rate=2.0, max_learning_rate=2.0)
    assert run_of(phi, digits().w0, 0, 32).found() is not None


def test_a_rate_that_grows_too_large_on_the_way():
    def phi(weights, index, level):
        return weights * np.where(index < 100, 0.99, -1.3)[:, None]

    assert run_of(phi, np.ones(2), 0, 100).found() is None
    found = run_of(phi, np.ones(2), 0, 160).found()
    assert 84 <= found.first <= 116
    # At least half of the steps that are named turn the change around.
    assert 1.3**11 < found.total <= 1.3001**32


def test_steps_with_a_last_number():
    seen = []

    def phi(weights, index, level):
        seen.append(index.tolist())
        return 0.9 * weights

    run_of(phi, np.ones(2), 3, 5, last=2)
    assert seen == [[i, i, i] for i in (0, 1, 2, 2, 2)]


@pytest.mark.parametrize("kind", ["nan", "noise"])
def test_one_step_that_is_no_step_of_training(kind):
    rng = np.random.default_rng(0)

    def phi(weights, index, level):
        new = 0.9 * weights + 1
        new[index == 37] = np.nan if kind == "nan" else rng.normal(size=new.shape)[index == 37]
        return new

    run = run_of(phi, np.ones(3), 0, 64)
    assert (run.found().cause, run.found().first) == (kind, 37)


def test_first_steps_that_amplify_accuse_nobody():
    """As Adam's do, and in single precision those of a net with kinks: states move evenly, changes grow for a while."""
    factors = np.r_[np.full(16, 2.3), np.full(16, 1.15), np.ones(64)]

    def phi(weights, index, level):
        change = weights - index[:, None]
        return index[:, None] + 1 + factors[index, None] * change

    run = run_of(phi, np.zeros(3), 0, 96)
    assert run.halves(32) == pytest.approx((2.3, 1.15), rel=1e-3)
    assert run.found() is None


def test_states_whose_square_overflows():
    run = run_of(lambda weights, index, level: -3.0 * weights, np.full(2, 1e190), 0, 64)
    assert run.finite
    assert run.halves() == pytest.approx((3.0, 3.0))
    assert sum(run.turns) == pytest.approx(-64)
    assert run.found() is not None
