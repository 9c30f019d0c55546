"""Functions as propagators."""

import functools

import numpy as np
import pytest

import daskmgrit as dm

RATE = 0.02


def in_place(w, i):
    w -= RATE * np.sin(w) * (1 + i % 2)
    return w


def stateless(w):
    return w - RATE * np.sin(w)


def levelled(w, i, level):
    return w - RATE * 2**level * np.sin(w)


class Loop:
    """A loop whose data belong to an instance."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, w, i, level):
        return self.factor * w


def batched(weights, index):
    return weights - RATE * np.sin(weights) * (1 + index % 2)[:, None]


@pytest.mark.parametrize(
    ("f", "vectorized"),
    [
        (in_place, False),
        (stateless, False),
        (levelled, False),
        (batched, True),
        (stateless, True),
        (functools.partial(levelled, level=0), False),
    ],
)
def test_a_loop_body_in_one_line(f, vectorized):
    w0 = np.linspace(0.5, 1, 4)
    phi = dm.from_function(f, vectorized, cap=16)
    assert dm.check_propagator(phi, w0, levels=3).ok
    result = dm.MGRIT(phi, 64).solve(w0)
    assert result.converged
    w = w0.copy()
    for i in range(64):
        w = {in_place: in_place, stateless: lambda w, i: stateless(w)}.get(
            f, lambda w, i: batched(w[None], np.array([i]))[0] if f is batched else levelled(w, i, 0)
        )(w, i)
    np.testing.assert_allclose(result.final, w, atol=1e-7)


def test_coarse_steps_of_a_loop_without_levels():
    phi = dm.from_function(lambda w, i: w - 0.1 * (i + 1), coarsening=[4, 2], cap=6)
    steps = phi(np.zeros((2, 1)), np.array([0, 3]), 1)
    np.testing.assert_allclose(steps[:, 0], [-0.1 * 4 * 1, -0.1 * 4 * 13])
    np.testing.assert_allclose(phi(np.zeros((1, 1)), np.array([2]), 2), [[-0.1 * 6 * 17]])


def test_a_level_argument_is_found_by_its_name():
    phi = dm.from_function(lambda w, i, level=0: w + level)
    assert phi(np.zeros((1, 1)), np.array([0]), 3) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3,), TypeError, ["f=3", "f(w, i, level)"]),
        ((lambda: 0,), TypeError, ["takes ()"]),
        ((lambda w, i, rate, data: w,), TypeError, ["(w, i, rate, data)", "functools.partial"]),
        ((lambda w, *, rate: w,), TypeError, ["(w, *, rate)", "functools.partial"]),
        ((Loop,), TypeError, ["f=Loop is a class", "Loop(…)"]),
    ],
)
def test_what_is_no_loop_body(arguments, error, words):
    with pytest.raises(error) as caught:
        dm.from_function(*arguments)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("phi", "words"),
    [
        (in_place, ["phi=in_place takes (w, i)", "phi(w, i, level)", "from_function"]),
        (stateless, ["phi=stateless takes (w)", "from_function"]),
        (lambda w, i, level, data: w, ["(w, i, level, data)", "functools.partial"]),
        (lambda w, i, level, *, rate: w, ["(w, i, level, *, rate)", "default values"]),
        (Loop, ["phi=Loop is a class", "Loop(…)"]),
        (3, ["phi=3 is not callable"]),
    ],
)
def test_what_vectorize_cannot_call(phi, words):
    with pytest.raises(TypeError) as caught:
        dm.vectorize(phi)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("phi", [levelled, lambda w, i, lev=0: w, lambda *args: args[0], Loop(0.9)])
def test_what_vectorize_can_call(phi):
    assert dm.vectorize(phi)(np.ones((2, 3)), np.arange(2), 0).shape == (2, 3)


def test_a_solver_with_another_coarsening():
    with pytest.raises(ValueError, match="phi was made for coarsening=2, but the solver coarsens by 4, 4"):
        dm.MGRIT(dm.from_function(lambda w: 0.9 * w), 64, coarsening=4, min_coarse=4)


@pytest.mark.parametrize(("option", "value"), [("cap", 0), ("coarsening", 1), ("coarsening", [])])
def test_bad_lengths(option, value):
    with pytest.raises(ValueError, match=option):
        dm.from_function(stateless, **{option: value})


def test_a_loop_body_that_returns_nothing():
    def forgets(w, i):
        w *= 0.9

    with pytest.raises(dm.PropagatorError, match="returned None"):
        dm.check_propagator(dm.from_function(forgets), np.ones(2))


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
def test_the_step_that_fails_is_named(level, solver):
    def fails(w, i, at):
        if i == 37 and at == level:
            raise KeyError("no such batch")
        return 0.9 ** (2**at) * w

    if solver is dm.ParallelNewton and level:
        pytest.skip("it has one level")
    with pytest.raises(KeyError) as caught:
        solver(dm.from_function(fails), 200).solve(np.ones(2))
    place = "at step 37, sweep" if solver is dm.ParallelNewton else f"on level {level}, step 37, cycle"
    assert any(f"raised by phi {place}" in note for note in caught.value.__notes__)


def test_the_check_names_the_step_that_fails():
    def fails(w, i):
        return w / (3 - int(i)) if i != 3 else 1 // 0

    report = dm.check_propagator(dm.from_function(fails), np.ones(2), raises=False)
    assert "phi raised ZeroDivisionError on level 0 at step 3" in str(report)


def test_an_f_for_one_state_that_is_said_to_be_vectorized():
    x = np.linspace(-1, 1, 20).reshape(5, 4)
    phi = dm.from_function(lambda w: w - 0.1 * x.T @ (x @ w), vectorized=True)
    with pytest.raises(dm.PropagatorError, match="Leave out vectorized=True"):
        dm.MGRIT(phi, 16).solve(np.ones(4))


@pytest.mark.parametrize("wrap", [dm.from_function, lambda f: dm.vectorize(lambda w, i, level: f(w, i))])
@pytest.mark.parametrize(
    ("f", "shape", "remedy"),
    [
        (lambda w, i: w[:-1], "shape (3,)", "all 4 as one flat array; if they are all, give a w0 of length 3"),
        (lambda w, i: w.sum(), "shape ()", "all 4 as one flat array"),
        (lambda w, i: 0.5, "shape ()", "all 4 as one flat array"),
        (lambda w, i: w[:, None], "shape (4, 1)", "new.ravel()"),
        (lambda w, i: w.reshape(2, 2), "shape (2, 2)", "new.ravel()"),
        (lambda w, i: (w, 0.5), "a tuple of several shapes", "the new weights alone"),
    ],
)
def test_a_state_of_the_wrong_shape(wrap, f, shape, remedy):
    with pytest.raises(dm.PropagatorError) as caught:
        dm.MGRIT(wrap(f), 64).solve(np.ones(4))
    words = str(caught.value)
    assert f"returned {shape} for a state of shape (4,) (level 0, step 0)" in words
    assert words.endswith(remedy) or f"{remedy}, as" in words
    # It is the function's own name that a user knows, and vectorize changes nothing here.
    assert "lambda" in words
    assert "vectorize" not in words


def test_one_state_of_a_vectorized_f_is_told_its_own_remedy():
    with pytest.raises(dm.PropagatorError, match="Leave out vectorized=True"):
        dm.MGRIT(dm.from_function(lambda w: 0.9 * w[0], vectorized=True), 64).solve(np.ones(4))
