"""The errors that a user of daskmgrit may meet."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "CheckpointUnusable",
    "ClusterError",
    "CommandError",
    "Diverged",
    "PropagatorError",
    "name_step",
]


def name_step(step: int, before: int) -> str:
    """Name a step of a solve, and the step of phi, if phi takes `before` steps before the solve's step 0."""
    return f"step {step} of this solve, step {before + step} of phi" if before else f"step {step}"


class PropagatorError(ValueError):
    """A propagator broke its contract: it returned the wrong shape or dtype, or wrote to its input."""


class ClusterError(RuntimeError):
    """The Dask cluster cannot run the solve: it has no workers, they do not answer, or they lack this version."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, is damaged, or is of another problem."""


class CheckpointUnusable(CheckpointError):
    """There is a checkpoint, but none to resume from: it is damaged, or of another problem."""


class CommandError(RuntimeError):
    """A program that serves as a propagator failed: its exit status and its standard error."""


class Diverged(ArithmeticError):
    """A propagator returned nan or inf.

    Parameters
    ----------
    level : int
        The level on which it happened.
    step : int
        The first source step (on that level) whose result is not finite.
    cycle : int
        The cycle during which it happened; 0 is the evaluation of the initial guess.
    before : int, default 0
        Steps of phi on that level before step 0.
    """

    def __init__(self, level: int, step: int, cycle: int, before: int = 0) -> None:
        super().__init__(level, step, cycle, before)
        self.level, self.step, self.cycle, self.before = level, step, cycle, before

    def __str__(self) -> str:
        when = f"cycle {self.cycle}" if self.cycle else "the evaluation of the initial guess"
        return f"phi returned nan or inf on level {self.level}, {name_step(self.step, self.before)}, during {when}"
