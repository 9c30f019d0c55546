"""The solver object that a user holds: options, hierarchy table, solve."""

from __future__ import annotations

import inspect
import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from dask.delayed import Delayed

from daskmgrit.arrays import as_array, last_row
from daskmgrit.asynchronous import solve_in_thread
from daskmgrit.cluster import check_cluster
from daskmgrit.dashboard.listen import Listener
from daskmgrit.drive import Drive
from daskmgrit.executor import ClusterExecutor, choose_executor, chosen_client
from daskmgrit.guess import check_guess
from daskmgrit.hierarchy import Hierarchy, build_hierarchy
from daskmgrit.options import integer_option, number_option
from daskmgrit.planning import check_chunks
from daskmgrit.progress import Progress
from daskmgrit.propagators.contract import stages_of
from daskmgrit.relaxation import Phi
from daskmgrit.result import Result
from daskmgrit.transfer import StateTransfer, check_transfers, with_transfers

__all__ = ["MGRIT"]

Callback = Callable[[int, float, Any], Any]


class MGRIT:
    """Multigrid reduction in time over the steps of a training run.

    Solves ``w[i+1] = Phi(w[i])``, i = 0 … N-1, for all steps at once, by FAS multigrid over the step axis
    [1]_. The result is that of the serial loop, to within the tolerance.

    Parameters
    ----------
    phi : callable
        The propagator, ``phi(weights, index, level) -> new weights``: `weights` (k, s) are k independent states,
        `index` (k,) the integer source step of each on `level`. It must not write to its input. A phi for one state is
        wrapped by :func:`daskmgrit.vectorize`; :func:`daskmgrit.check_propagator` tests one. If it has a method
        ``stages(level)``, a call counts that many Phi, one after another.
    steps : int
        N, the number of training steps.
    coarsening : int or list of int, default 2
        Coarsening factor m of each level; the last of a list repeats. 2 converges best; larger factors shorten the
        critical path.
    max_levels : int, optional
        At most so many levels; 2 is the two-level method.
    min_coarse : int, default 10
        Levels are added while the coarsest has more steps than this.
    cycle : {"V", "F"}, default "V"
        F-cycles take fewer iterations, each with a longer critical path.
    relaxation : str, int or list, default "FCF"
        "F", "FCF", "FCFCF" … or the nu of F(CF)^nu, for each level; the last of a list repeats.
    weight : float or list of float, default 1.0
        Weight of the C-relaxation, in (0, 2).
    transfer : StateTransfer or list of StateTransfer or None, optional
        Coarsens the states too: an object with ``restrict(weights, level)``, from states (k, s) of `level` to states
        (k, s_c) of the next, and ``interpolate(weights, level)`` back, both linear. One for all levels, or one for
        each (None where the size stays), the last repeating. phi is then given states of the level's own size.

    Attributes
    ----------
    hierarchy : Hierarchy
        The levels. ``print(solver)`` shows them.

    Raises
    ------
    ValueError
        If an option is out of range; the message names it, its value and the remedy.
    TypeError
        If `phi` is not callable.

    References
    ----------
    .. [1] J. B. Schroder, "Parallelizing Over Artificial Neural Network Training Runs with Multigrid", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def halve(weights, index, level):
    ...     return weights * 0.5 ** (2**level)
    >>> solver = dm.MGRIT(halve, steps=64)
    >>> result = solver.solve(np.ones(3))
    >>> result.reason, bool(abs(result.final - 0.5**64).max() < result.tol)
    ('tol', True)
    """

    def __init__(
        self,
        phi: Phi,
        steps: int,
        coarsening: int | Sequence[int] = 2,
        max_levels: int | None = None,
        min_coarse: int = 10,
        cycle: str = "V",
        relaxation: str | int | Sequence[str | int] = "FCF",
        weight: float | Sequence[float] = 1.0,
        transfer: StateTransfer | Sequence[StateTransfer | None] | None = None,
    ) -> None:
        if not callable(phi):
            raise TypeError(f"phi={phi!r} is not callable: give a function phi(weights, index, level) -> new weights")
        self.phi = phi
        self.hierarchy: Hierarchy = build_hierarchy(
            steps, coarsening, max_levels, min_coarse, cycle, relaxation, weight
        )
        self.transfers = check_transfers(transfer, self.hierarchy.last)

    @property
    def steps(self) -> int:
        """N, the number of training steps."""
        return self.hierarchy[0].steps

    @property
    def stages(self) -> list[int]:
        """How many Phi a step of each level counts: more than one where phi takes stages."""
        return [stages_of(self.phi, level) for level in range(len(self.hierarchy))]

    def __str__(self) -> str:
        stages = self.stages
        return self.hierarchy.table(stages if max(stages) > 1 else None)

    def __repr__(self) -> str:
        return f"<MGRIT: {self.hierarchy.cycle}-cycle, levels {self.hierarchy.steps}>"

    def _repr_html_(self) -> str:
        from daskmgrit.notebook import solver_view

        return solver_view(self)

    def plot(self, axes: Any = None) -> Any:
        """Plot the levels with their C- and F-points, and the order in which a cycle goes through them.

        As the paper's Figures 3 and 5 [1]_. Of many steps, the first are shown.

        Parameters
        ----------
        axes : sequence of two matplotlib.axes.Axes, optional
            Where to draw levels and cycle; a new figure by default.

        Returns
        -------
        sequence of two matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from daskmgrit.plots import plot_solver

        return plot_solver(self.hierarchy, axes)

    def solve(
        self,
        w0: Any,
        initial_guess: Any = "zero",
        tol: float | None = None,
        maxiter: int = 50,
        chunks: int | str = "auto",
        client: Any = None,
        callback: Callback | None = None,
        checkpoint: None = None,
        progress: bool = False,
    ) -> Any:
        """Solve for the states at all steps.

        Parameters
        ----------
        w0 : array_like, shape (s,)
            The initial state.
        initial_guess : str, array or Result, default "zero"
            ``"zero"`` (w0, then zeros), ``"constant"`` (w0 everywhere), ``"nested"`` (nested iteration from the
            coarsest level), an array of shape (N+1, s), or an earlier Result.
        tol : float, optional
            Absolute tolerance of the residual's 2-norm, by default ``1e-9*sqrt(N)``. 0 does exactly `maxiter` cycles.
        maxiter : int, default 50
            At most so many cycles.
        chunks : int or "auto", default "auto"
            Number of chunks that level 0 is cut into along the step axis. "auto" takes it from the number of worker
            threads and the cost of Phi, measured while the initial guess is evaluated.
        client : distributed.Client, optional
            The cluster to solve on. By default the scheduler set in ``dask.config``, else the current client, else the
            threaded scheduler. With an asynchronous client, write ``await solver.solve(...)``.
        callback : callable, optional
            ``callback(iteration, residual, weights)`` after every cycle; `weights` is a lazy dask array, valid until
            the solve goes on. Returning True stops the solve.
        checkpoint : None
            Reserved: there are no checkpoints yet.
        progress : bool, default False
            Print a line per cycle.

        Returns
        -------
        Result
            From an asynchronous client's event loop, a coroutine that gives it.

        Raises
        ------
        ValueError
            If an argument is out of range or has the wrong shape.
        PropagatorError
            If phi returns the wrong shape or dtype, or writes to its input.
        ClusterError
            If the cluster has no workers, they cannot import this version of daskmgrit or phi, or the cluster is lost.

        Notes
        -----
        Weights come back F-relaxed, also with ``maxiter=0``; only ``residuals[0]`` is that of the guess as given.
        On a cluster, weights are computed through the client that solved: ``client.compute(result.weights)`` if it is
        not the current one.

        With ``Client(asynchronous=True)`` the solve runs in a thread of its own and the event loop goes on; futures
        are that client's: ``await client.compute(result.weights)``. Cancelling the wait stops the solve and drops its
        futures. A `callback` that is an ``async def`` is awaited on the event loop, another is called in the solve's
        thread, where ``weights.compute()`` may block.

        Examples
        --------
        On a cluster, from a coroutine::

            async with Client("tcp://127.0.0.1:8786", asynchronous=True) as client:
                result = await solver.solve(w0)
                weights = await client.compute(result.weights)
        """
        if getattr(owner := chosen_client(client), "asynchronous", False):
            again = partial(
                self.solve, w0, initial_guess, tol, maxiter, chunks, checkpoint=checkpoint, progress=progress
            )
            return solve_in_thread(again, owner, callback)
        begin = time.perf_counter()
        start = check_w0(w0)
        tol = (
            1e-9 * math.sqrt(self.steps)
            if tol is None
            else number_option(
                "tol", tol, "it is absolute and >= 0 (0 does exactly maxiter cycles); None is 1e-9*sqrt(N)", least=0
            )
        )
        maxiter = integer_option("maxiter", maxiter, 0, "it is the largest number of cycles")
        wanted = check_chunks(chunks, self.hierarchy)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback={callback!r} is not callable: give callback(iteration, residual, weights)")
        if inspect.iscoroutinefunction(callback):
            raise TypeError(
                f"callback={callback!r} is a coroutine function, which only a solve through an asynchronous client can "
                "await: give a plain function"
            )
        if checkpoint is not None:
            raise ValueError(f"checkpoint={checkpoint!r}: this version writes no checkpoints; leave it out")
        guess = check_guess(initial_guess, self.steps, start)
        propagator = with_transfers(self.phi, self.transfers, start)
        executor = choose_executor(client)
        if isinstance(executor, ClusterExecutor):
            check_cluster(executor.client, propagator)

        run = f"0{uuid.uuid4().hex[:11]}"  # Dask groups keys by what comes before the first word that is no name
        with executor.session(), Progress(progress, tol, maxiter, begin) as lines, ExitStack() as stack:
            phi = executor.put(propagator, f"propagator-{run}")
            initial = executor.put(start, f"w0-{run}")
            drive = Drive(self.hierarchy, phi, initial, start.nbytes, executor, run)
            watch = stack.enter_context(Listener(executor, drive, self.phi, wanted, tol, maxiter))

            def listener(cycle: int, residual: float, state: list[Delayed]) -> bool:
                lines.line(cycle, residual)
                watch.cycle(cycle, residual)
                if callback is None or cycle == 0:
                    return False
                name = f"weights-{run}-{cycle}"
                return bool(callback(cycle, residual, as_array(state, drive.layout, self.hierarchy, start, name)))

            outcome = drive.solve(guess, wanted, tol, maxiter, listener)
            weights = executor.keep(as_array(outcome.state, drive.layout, self.hierarchy, start, f"weights-{run}"))
            final = last_row(outcome.state, drive.layout, executor, run)
            watch.end(outcome.reason, outcome.message)
        iterations = len(outcome.residuals) - 1
        phi_seconds = [0.0] * len(self.hierarchy)
        evaluations = [0] * len(self.hierarchy)
        for record in drive.records:
            phi_seconds[record.level] += record.phi_seconds
            evaluations[record.level] += record.evaluations
        total = time.perf_counter() - begin
        return Result(
            weights=weights,
            final=final,
            residuals=outcome.residuals,
            iterations=iterations,
            converged=outcome.reason == "tol",
            reason=outcome.reason,
            message=outcome.message,
            tol=tol,
            levels=self.hierarchy.steps,
            cycle=self.hierarchy.cycle,
            phi_evaluations=evaluations,
            critical_path=drive.depth,
            tasks=drive.tasks,
            timings={
                "total": total,
                "setup": drive.began - begin,
                "cycles": drive.cycle_seconds,
                "phi": phi_seconds,
            },
            records=drive.records,
        )


def check_w0(w0: Any) -> np.ndarray:
    """Return w0 as a floating-point vector."""
    start = np.array(w0)
    if start.dtype.kind in "iub":
        start = start.astype(np.float64)
    if start.dtype.kind not in "fc":
        raise ValueError(f"w0 has dtype {start.dtype}: give a vector of floating-point numbers")
    if start.ndim != 1 or not start.size:
        raise ValueError(
            f"w0 has shape {start.shape}: give all weights as one flat vector of shape (s,), s >= 1, e.g. w0.ravel()"
        )
    if not np.isfinite(start).all():
        raise ValueError(f"w0 holds nan or inf at entry {int(np.argmin(np.isfinite(start)))}: give finite weights")
    return start
