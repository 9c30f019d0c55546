"""The picture of two trainings' losses."""

import numpy as np
import pytest

from daskmgrit.display.plot_losses import Losses, plot_losses

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def axes():
    from matplotlib.figure import Figure

    return Figure().subplots(ncols=2)


def _points(ax, label):
    line = next(line for line in ax.get_lines() if line.get_label() == label)
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_serial_losses_are_drawn_by_step_in_both(axes):
    losses = Losses([0, 2, 4, 6], [4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.5])
    left, right = plot_losses(losses, [3, 1, 2], axes)
    assert _points(left, "serial") == _points(right, "serial") == ([0, 2, 4, 6], [4.0, 3.0, 2.0, 1.0])


def test_parallel_losses_are_drawn_at_the_sweep_that_accepted_the_step(axes):
    losses = Losses([0, 2, 3, 4, 5, 6], [6.0] * 6, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    left, right = plot_losses(losses, [3, 1, 2], axes)
    assert _points(left, "parallel Newton")[0] == [0, 2, 3, 4, 5, 6]
    assert _points(right, "parallel Newton") == ([0, 1, 1, 2, 3, 3], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert right.get_title() == "6 Phi in a row serially, 3 in parallel"
