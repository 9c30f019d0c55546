"""Stopping when the loss of the final weights has settled."""

import numpy as np
import pytest

import daskmgrit as dm
from tests.support.approach import Approach, Loss

STEPS = 200


@pytest.fixture
def phi():
    return Approach()


def first_settled(losses, rtol, cycles):
    """Where a solve has to stop, by the definition."""
    for k in range(cycles + 1, len(losses)):
        if all(
            abs(losses[j] - losses[j - 1]) <= rtol * max(losses[j], losses[j - 1]) for j in range(k - cycles + 1, k + 1)
        ):
            return k
    return None


@pytest.mark.parametrize(("rtol", "cycles"), [(1e-2, 2), (1e-4, 2), (1e-3, 1)])
@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_stops_where_it_has_settled(phi, w0, rtol, cycles, storage):
    solver, loss = dm.MGRIT(phi, STEPS), Loss()
    full = solver.solve(w0, settled=dm.Settled(loss, rtol=0.0), tol=0, maxiter=8)
    assert len(full.losses) == 9
    expected = first_settled(full.losses, rtol, cycles)
    result = solver.solve(w0, settled=dm.Settled(Loss(), rtol, cycles), chunks=3, storage=storage)
    assert (result.reason, result.iterations, result.converged) == ("settled", expected, False)
    assert result.losses == full.losses[: expected + 1]
    assert result.residuals == full.residuals[: expected + 1]
    # The loss is that of the weights that come back, and near that of serial training.
    assert Loss()(result.final) == result.losses[-1]
    assert result.losses[-1] == pytest.approx(Loss()(dm.train_serially(phi, w0, STEPS)[-1]), rel=10 * rtol)
    text = str(result)
    assert "settled" in text
    assert "loss" in text
    assert "residual" in text


def test_the_tolerance_may_come_first(phi, w0):
    result = dm.MGRIT(phi, STEPS).solve(w0, settled=dm.Settled(Loss(), rtol=0.0, cycles=30))
    assert result.reason == "tol"
    assert len(result.losses) == result.iterations + 1
    assert not dm.MGRIT(phi, STEPS).solve(w0).losses


def test_beside_a_callback(phi, w0):
    seen = []

    def callback(iteration, residual, weights):
        seen.append(iteration)
        return iteration == stop

    for stop, reason in ((1, "callback"), (100, "settled")):  # noqa: B007
        result = dm.MGRIT(phi, STEPS).solve(w0, callback=callback, settled=dm.Settled(Loss(), 1e-2))
        assert result.reason == reason
        assert seen[-1] == result.iterations


def test_going_on_from_a_checkpoint(phi, w0, tmp_path):
    solver, settled = dm.MGRIT(phi, STEPS), dm.Settled(Loss(), 1e-4)
    whole = solver.solve(w0, settled=settled)
    assert whole.iterations > 2
    solver.solve(w0, maxiter=2, settled=settled, checkpoint=tmp_path)
    result = solver.resume(tmp_path, maxiter=50, settled=settled)
    assert (result.reason, result.losses, result.residuals) == ("settled", whole.losses, whole.residuals)
    again = solver.resume(tmp_path, settled=settled)
    assert (again.reason, again.iterations) == ("settled", whole.iterations)


def test_from_a_checkpoint_that_measured_none(phi, w0, tmp_path):
    solver = dm.MGRIT(phi, STEPS)
    solver.solve(w0, maxiter=2, checkpoint=tmp_path)
    result = solver.resume(tmp_path, maxiter=50, settled=dm.Settled(Loss(), 0.5))
    assert result.reason == "settled"
    assert result.iterations == 4
    assert np.isnan(result.losses[:2]).all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: dm.Settled(3), TypeError, "loss=3"),
        (
            lambda: dm.Settled(lambda final, data: 1.0),
            TypeError,
            r"loss=<lambda> takes \(final, data\), not 1 argument",
        ),
        (lambda: dm.Settled(len, rtol=-1), ValueError, "rtol=-1"),
        (lambda: dm.Settled(len, cycles=0), ValueError, "cycles=0"),
        (lambda: dm.Settled(lambda final: "low"), TypeError, "'low'"),
        (lambda: 1e-3, TypeError, r"settled=0.001 .* Settled\(loss"),
    ],
)
def test_what_is_refused(phi, w0, make, error, words):
    with pytest.raises(error, match=words):
        dm.MGRIT(phi, STEPS).solve(w0, settled=make())
