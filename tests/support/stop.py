"""Ending a solve in its midst."""


class Stop(Exception):
    """Raised by the callback that `stop_at` returns."""


def stop_at(cycle):
    """Return a callback that raises Stop after this cycle."""

    def callback(iteration, residual, weights):
        if iteration == cycle:
            raise Stop

    return callback
