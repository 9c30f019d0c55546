"""The networks and their descent, against finite differences and plain loops."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from daskmgrit.models import MLP, AllExamples, CappedRate, ConstantRate, GradientDescent, Repeat, Serial, mlp, workspace
from daskmgrit.problems import xor


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    ("loss", "output"),
    [
        ("squared_error", "sigmoid"),
        ("squared_error", "tanh"),
        ("squared_error", "linear"),
        ("cross_entropy", "sigmoid"),
    ],
)
@pytest.mark.parametrize("sizes", [[2, 3], [3, 4, 2], [2, 3, 4, 3]])
def test_gradient_by_finite_differences(hidden, bias, reduction, loss, output, sizes):
    rng = np.random.default_rng(3)
    model = MLP(sizes, hidden, loss, output, bias, reduction)
    weights = rng.standard_normal((2, model.size))
    x = rng.standard_normal((5, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], 5)]
    gradient = model.gradient(weights, x, y)
    step = 1e-6
    for j in range(model.size):
        shift = np.zeros(model.size)
        shift[j] = step
        slope = (model.loss(weights + shift, x, y) - model.loss(weights - shift, x, y)) / (2 * step)
        np.testing.assert_allclose(gradient[:, j], slope, rtol=1e-5, atol=1e-8)


def test_own_examples_per_state():
    rng = np.random.default_rng(4)
    model = MLP([3, 4, 2], bias=True)
    weights, x, y = rng.standard_normal((5, model.size)), rng.random((5, 7, 3)), rng.random((5, 7, 2))
    together = model.gradient(weights, x, y)
    alone = [model.gradient(weights[i : i + 1], x[i], y[i])[0] for i in range(5)]
    assert np.array_equal(together, alone)
    assert model.predict(weights[0], x[0]).shape == (7, 2)
    assert model.predict(weights, x).shape == (5, 7, 2)


def test_extreme_weights_stay_finite():
    model = MLP([2, 2, 2], loss="cross_entropy")
    weights = np.full((1, model.size), 1e4)
    x, y = np.array([[1.0, -1.0], [5.0, 5.0]]), np.eye(2)
    assert np.isfinite(model.gradient(weights, x, y)).all()
    assert np.isfinite(model.loss(-weights, x, y)).all()


def test_descent_takes_the_right_examples_and_rate():
    class Recorder:
        def footprint(self, batch):
            return 10

        def gradient(self, weights, x, y, out):
            out[:] = x.sum(axis=(-1, -2))[:, None] + 10 * y.sum(axis=(-1, -2))[:, None]
            return out

    x, y = np.arange(6.0)[:, None], np.arange(6.0)[:, None]
    phi = GradientDescent(Recorder(), x, y, CappedRate(1.0, 3.0), Serial(6, batch=2, offset=1))
    new = phi(np.zeros((4, 3)), np.arange(4), 1)
    # Steps 0 … 3 see batches 1, 2, 0, 1: examples 2+3, 4+5, 0+1, 2+3.
    assert new[:, 0].tolist() == [-2 * 11 * total for total in (5, 9, 1, 5)]
    assert phi(np.zeros((1, 3)), np.array([0]), 2)[0, 0] == -3 * 11 * 5


def test_rates():
    assert [ConstantRate(0.1)(level) for level in range(3)] == [0.1] * 3
    assert [CappedRate(1, 8)(level) for level in range(5)] == [1, 2, 4, 8, 8]
    assert [CappedRate(0.5, 100, factor=4)(level) for level in range(4)] == [0.5, 2, 8, 32]
    for make in (lambda: ConstantRate(0), lambda: CappedRate(1, np.inf), lambda: CappedRate("x", 1)):
        with pytest.raises(ValueError, match="learning rate"):
            make()
    with pytest.raises(ValueError, match=r"maximum=1 is below rate=2"):
        CappedRate(2, 1)


def test_data_rules():
    index = np.arange(10)
    assert AllExamples()(index, 0) is None
    assert Serial(4)(index, 0).ravel().tolist() == [i % 4 for i in range(10)]
    assert Serial(4, offset=1)(index, 3).ravel().tolist() == [(i + 1) % 4 for i in range(10)]
    assert Repeat(4)(index, 0).ravel().tolist() == [(i // 2) % 4 for i in range(10)]
    by_level = Serial(4, offset=(1, 0))
    assert [int(by_level(np.array([2]), level)[0, 0]) for level in range(3)] == [3, 2, 2]
    # A last incomplete batch is left out.
    assert Serial(7, batch=3)(np.arange(3), 0).tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    with pytest.raises(ValueError, match="batch=5 is out of range: give 1 to 4"):
        Serial(4, batch=5)


@pytest.mark.parametrize(
    "arguments",
    [{"sizes": [3]}, {"sizes": [3, 0]}, {"hidden": "relu"}, {"loss": "hinge"}, {"output": "x"}, {"reduction": "max"}],
)
def test_bad_network(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=name):
        MLP(**({"sizes": [2, 2]} | arguments))


SMALL = [
    ([3, 4, 1], {}, 4),
    ([2, 3], {"output": "linear", "bias": True}, 5),
    ([3, 4, 3], {"hidden": "tanh", "loss": "cross_entropy", "bias": True, "reduction": "mean"}, 6),
    ([2, 3, 2, 1], {"hidden": "tanh", "output": "tanh"}, 1),
    ([1, 1], {"bias": True}, 9),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("sizes", "options", "batch"), SMALL)
def test_lanes(sizes, options, batch, own, dtype, monkeypatch):
    """Small networks: a state's gradient has the same bits in any block, and is what matrix products give."""
    rng = np.random.default_rng(5)
    model, k = MLP(sizes, **options), 67
    weights = rng.standard_normal((k, model.size)).astype(dtype)
    shape = (k, batch) if own else (batch,)
    x, y = (rng.random((*shape, n)).astype(dtype) for n in (sizes[0], sizes[-1]))
    whole = model.gradient(weights, x, y)
    assert whole.dtype == dtype
    # Examples of another type make no difference to that of the result.
    for other in (np.float32, np.float64):
        again = model.gradient(weights, x.astype(other), y.astype(other))
        assert again.dtype == dtype
        np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-5)
    for lo, hi in [(0, 1), (66, 67), (3, 5), (10, 27), (1, 67)]:
        mine = (x[lo:hi], y[lo:hi]) if own else (x, y)
        assert np.array_equal(model.gradient(weights[lo:hi], *mine), whole[lo:hi])
    stepped = np.empty_like(weights)
    model.descend(weights, x, y, 0.25, stepped)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(
        stepped, weights - dtype(0.25) * whole, rtol=0, atol=4 * np.finfo(dtype).eps * (4 + scale)
    )
    monkeypatch.setattr(mlp, "LANES", 0)
    np.testing.assert_allclose(model.gradient(weights, x, y), whole, rtol=0, atol=50 * np.finfo(dtype).eps * scale)
    again = model.gradient(weights, x.astype(float), y.astype(float))
    assert again.dtype == dtype
    np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limit", [0, 1000])
def test_sigmoids_of_large_and_of_no_numbers(limit, monkeypatch, recwarn):
    monkeypatch.setattr(mlp, "LANES", limit)
    model, x, y = MLP([2, 2, 1]), np.array([[1.0, 1.0]]), np.array([[1.0]])
    assert np.array_equal(model.gradient(np.full((1, 6), -1e4), x, y), np.zeros((1, 6)))
    found = model.gradient(np.stack([np.full(6, np.nan), np.ones(6)]), x, y)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert not recwarn.list


def test_lanes_of_several_threads():
    model, k = MLP([3, 4, 1]), 200
    x, y = xor().x, xor().y
    blocks = [np.random.default_rng(seed).standard_normal((k, model.size)) for seed in range(4)]
    expected = [model.gradient(block, x, y) for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            found = pool.map(lambda block: model.gradient(block, x, y), blocks)
            assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_thread_keeps_so_many_things_and_no_more():
    made = []

    def make():
        made.append(len(made))
        return made[-1]

    keys = [("test", number) for number in range(workspace.KEPT + 1)]
    assert [workspace.kept(key, make) for key in keys] == made
    assert workspace.kept(keys[-1], make) == len(keys) - 1
    assert workspace.kept(keys[0], make) == len(keys)


def test_a_subclass_with_a_gradient_of_its_own():
    class Decaying(MLP):
        def gradient(self, weights, x, y, out=None):
            out = super().gradient(weights, x, y, out)
            out += weights
            return out

    problem, index = xor(), np.arange(3)
    weights = np.tile(problem.w0, (3, 1))
    steps = [
        GradientDescent(model([3, 4, 1]), problem.x, problem.y, ConstantRate(0.5), AllExamples())(weights, index, 0)
        for model in (MLP, Decaying)
    ]
    np.testing.assert_allclose(steps[1], steps[0] - 0.5 * weights, rtol=1e-12)
