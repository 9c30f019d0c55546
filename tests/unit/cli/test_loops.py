"""The training loops of PyTorch's that come with the package, on the command line."""

import json

import pytest

from daskmgrit.cli.main import main
from tests.support.cli import CliRunner

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def small(monkeypatch, synchronous):
    """Problems of the same kind that take seconds."""
    from functools import partial

    from daskmgrit.problems import LOOPS, cnn, pinn

    monkeypatch.setitem(LOOPS, "pinn", partial(pinn, points=12, hidden=2, width=4))
    monkeypatch.setitem(LOOPS, "cnn", partial(cnn, channels=2, batch=16))


def solve(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


def test_pinn_is_solved_by_parallel_newton_with_its_metrics_and_the_published_figure():
    run = solve("pinn", "--steps", "12", "--slots", "4", "--tol", "1e-5", "--check")
    assert run.exit_code == 0, run.output
    assert "parallel Newton" in run.output
    assert "relative l2 error" in run.output
    assert "6.7e-4" in run.output


def test_cnn_tells_both_accuracies():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    run = solve("cnn", "--steps", "8", "--slots", "4", "--tol", "1e-5", "--json")
    assert run.exit_code == 0, run.output
    assert set(json.loads(run.stdout)["metrics"]) == {"loss", "train_accuracy", "test_accuracy"}


def test_the_seed_is_that_of_the_initial_weights():
    first, second = (
        json.loads(solve("pinn", "--steps", "2", "--tol", "1e-5", "--json", "--seed", seed).stdout)["metrics"]["loss"]
        for seed in ("1", "2")
    )
    assert first != second


def test_what_the_loop_decides_is_refused():
    run = solve("pinn", "--learning-rate", "0.1")
    assert run.exit_code == 2
    assert "--learning-rate" in run.stderr


def test_the_plot_shows_the_losses_of_both_trainings(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from daskmgrit.cli import plot_file

    drawn = []
    monkeypatch.setattr(plot_file, "plot_losses", lambda losses, accepted, axes: drawn.append(losses))
    arguments = ("pinn", "--steps", "12", "--slots", "4", "--tol", "1e-5", "--plot", str(tmp_path / "losses.png"))
    assert solve(*arguments).exit_code == 0
    assert not drawn  # without --check there are no serial losses
    assert solve(*arguments, "--check").exit_code == 0
    (losses,) = drawn
    assert losses.steps == list(range(13))
    assert losses.parallel == pytest.approx(losses.serial, rel=1e-3)
    assert losses.serial[-1] < losses.serial[0]
    assert (tmp_path / "losses.png").stat().st_size > 0
