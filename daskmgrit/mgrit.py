"""The solver object that a user holds: options, hierarchy table, solve."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, overload

from daskmgrit.display.plot_hierarchy import plot_solver
from daskmgrit.executors.choose import DaskClient
from daskmgrit.multigrid.hierarchy import Hierarchy, build_hierarchy
from daskmgrit.multigrid.state_transfer import StateTransfer, check_transfers
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.recurrence.step_length import check_coarsening
from daskmgrit.recurrence.trial import check_arguments
from daskmgrit.solver.entry import resume_from_checkpoint, run_or_await, solve_from_guess
from daskmgrit.solver.hierarchy_view import hierarchy_view
from daskmgrit.solver.options import Arguments, Callback
from daskmgrit.solver.result import Result
from daskmgrit.solver.stopping import Settled
from daskmgrit.utils.validation import brief

__all__ = ["MGRIT"]


class MGRIT:
    """Multigrid reduction in time over the steps of a training run.

    Solves ``w[i+1] = Phi(w[i])``, i = 0 … N-1, for all steps at once, by FAS multigrid over the step axis
    [1]_. The result is that of the serial loop, to within the tolerance.

    Parameters
    ----------
    phi : callable
        The propagator, ``phi(weights, index, level) -> new weights``: `weights` (k, s) are k independent states,
        `index` (k,) the integer source step of each on `level`. It must not write to its input. Wrap a phi for one
        state with :func:`daskmgrit.vectorize`; test one with :func:`daskmgrit.check_propagator`. If phi has a method
        ``stages(level)``, a call counts as that many Phi, one after another.
    steps : int
        N, the number of training steps.
    coarsening : int or list of int, default 2
        Coarsening factor m of each level; the last of a list repeats. 2 converges best; larger factors take less work,
        on a longer critical path.
    max_levels : int, optional
        Maximum number of levels; 2 is the two-level method.
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
        (k, s_c) of the next, and ``interpolate(weights, level)`` back, both linear. One for all levels, or one for each
        (None where the size stays), the last repeating. phi then receives states of the level's own size.

    Attributes
    ----------
    hierarchy : Hierarchy
        The levels. ``print(solver)`` shows them.

    Raises
    ------
    ValueError
        If an option is out of range, or `phi` was made for another coarsening; the message names it, its value and the
        remedy.
    TypeError
        If `phi` is not callable.
    PropagatorError
        If `phi` does not take three arguments.

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
            raise TypeError(
                f"phi={brief(phi)} is not callable: give a function phi(weights, index, level) -> new weights"
            )
        check_arguments(phi)
        self.phi = phi
        self.hierarchy: Hierarchy = build_hierarchy(
            steps, coarsening, max_levels, min_coarse, cycle, relaxation, weight
        )
        check_coarsening(phi, [level.coarsening for level in self.hierarchy.levels[:-1]])
        self.transfers = check_transfers(transfer, self.hierarchy.last)

    @property
    def steps(self) -> int:
        """N, the number of training steps."""
        return self.hierarchy[0].steps

    @property
    def stages(self) -> list[int]:
        """Number of Phi that a step of each level counts as; more than one where phi takes stages."""
        return [stages_of(self.phi, level) for level in range(len(self.hierarchy))]

    def __str__(self) -> str:
        stages = self.stages
        return self.hierarchy.table(stages if max(stages) > 1 else None)

    def __repr__(self) -> str:
        return f"<MGRIT: {self.hierarchy.cycle}-cycle, levels {self.hierarchy.steps}>"

    def _repr_html_(self) -> str:
        return hierarchy_view(self.hierarchy, self.phi)

    def plot(self, axes: Any = None) -> Any:
        """Plot the levels with their C- and F-points, and the order in which a cycle visits them.

        The plot follows the paper's Figures 3 and 5 [1]_. With many steps, it shows only the first ones.

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
        return plot_solver(self.hierarchy, axes)

    @overload
    def solve(
        self,
        w0: Any,
        initial_guess: Any = "zero",
        tol: float | None = None,
        maxiter: int = 50,
        chunks: int | str = "auto",
        client: DaskClient | None = None,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str = "full",
        settled: Settled | None = None,
    ) -> Result: ...

    @overload
    def solve(
        self,
        w0: Any,
        initial_guess: Any = "zero",
        tol: float | None = None,
        maxiter: int = 50,
        chunks: int | str = "auto",
        *,
        client: Any,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str = "full",
        settled: Settled | None = None,
    ) -> Coroutine[Any, Any, Result]: ...

    def solve(
        self,
        w0: Any,
        initial_guess: Any = "zero",
        tol: float | None = None,
        maxiter: int = 50,
        chunks: int | str = "auto",
        client: Any = None,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str = "full",
        settled: Settled | None = None,
    ) -> Result | Coroutine[Any, Any, Result]:
        """Solve for the states at all steps.

        Parameters
        ----------
        w0 : array_like, shape (s,)
            The initial state. If it is an array of another library that follows the Python array API standard (a torch
            tensor, a JAX array), phi receives blocks of that library, on its device. Results are always NumPy's.
        initial_guess : str, array or Result, default "zero"
            ``"zero"`` (w0, then zeros), ``"constant"`` (w0 everywhere), ``"nested"`` (nested iteration from the
            coarsest level), an array of shape (N+1, s), or an earlier Result.
        tol : float, optional
            Absolute tolerance of the residual's 2-norm, by default ``1e-9*sqrt(N)``, in single precision
            ``1e-5*sqrt(N)`` or ten times the rounding of `w0`. With 0 the solve does exactly `maxiter` cycles.
        maxiter : int, default 50
            Maximum number of cycles.
        chunks : int or "auto", default "auto"
            Number of chunks of level 0 along the step axis. "auto" derives it from the number of worker threads and the
            cost of Phi, which is measured while the initial guess is evaluated.
        client : distributed.Client, optional
            The cluster to solve on. By default the scheduler set in ``dask.config``, else the current client, else the
            threaded scheduler. With an asynchronous client, write ``await solver.solve(...)``; pass it as ``client=``
            so that type checkers know.
        callback : callable, optional
            Called as ``callback(iteration, residual, weights)`` after every cycle; `weights` is a lazy dask array,
            valid only until the callback returns. Returning True stops the solve.
        checkpoint : str, path or Checkpoint, optional
            A directory, shared by the client and all workers, in which to save what :meth:`resume` needs, every 10
            cycles or 10 minutes and at the end; pass a :class:`daskmgrit.Checkpoint` to choose how often. The directory
            must not hold a checkpoint yet.
        progress : bool, default False
            Print a line per cycle.
        timeout : float or str, optional
            Seconds, or a time such as "5 minutes": how long to wait for a first worker, a replacement, a reply or any
            progress; a Phi that runs is progress. By default ``daskmgrit.worker-timeout`` of ``dask.config``.
        storage : {"full", "c-points"}, default "full"
            "c-points" keeps no F-points of level 0. It takes about 2/m of the memory and gives the same bits, with no
            more Phi per cycle and N/m more for the initial guess. Each computation of ``result.weights`` then makes the
            F-points again, by up to N Phi, one chunk at a time, so a function of them needs no more memory either.
        settled : Settled, optional
            Also stop, with ``reason="settled"``, when a loss of the final weights has settled:
            ``Settled(loss, rtol=1e-3, cycles=2)``. ``result.losses`` holds the losses after each cycle.

        Returns
        -------
        Result
            In an asynchronous client's event loop, a coroutine that returns it.

        Raises
        ------
        ValueError
            If an argument is out of range or has the wrong shape.
        PropagatorError
            If phi returns the wrong shape or dtype, writes to its input, or is for one state at a time.
        ClusterError
            If the cluster has no workers, they cannot import this version of daskmgrit or phi, or the cluster is lost.
        CheckpointError
            If `checkpoint` cannot be used: it holds a checkpoint or something else, cannot be written to, or is not
            shared.

        Notes
        -----
        Before the solve, phi is called twice on a few states; no number of the result counts this. A warning says if
        its rows are not independent or its results do not repeat. A phi with a true attribute ``pure`` is not tried.

        A solve whose residual no longer falls stops with ``reason="stagnated"``; ``result.advice`` says what to do
        about a solve that did not converge.

        The returned weights are F-relaxed, also with ``maxiter=0``; only ``residuals[0]`` is that of the guess as
        given. On a cluster, compute the weights through the client that solved: ``client.compute(result.weights)`` if
        it is not the current one.

        With ``Client(asynchronous=True)`` the solve runs in a thread of its own and the event loop stays free. Futures
        belong to that client: ``await client.compute(result.weights)``. Cancelling the wait stops the solve and drops
        its futures. An ``async def`` callback is awaited on the event loop; any other callback is called in the solve's
        thread, where ``weights.compute()`` may block.

        Examples
        --------
        On a cluster, from a coroutine::

            async with Client("tcp://127.0.0.1:8786", asynchronous=True) as client:
                result = await solver.solve(w0, client=client)
                weights = await client.compute(result.weights)
        """
        arguments = Arguments(tol, maxiter, chunks, client, callback, checkpoint, progress, timeout, storage, settled)
        return run_or_await(partial(solve_from_guess, self, w0, initial_guess), arguments)

    @overload
    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        maxiter: int | None = None,
        chunks: int | str = "auto",
        client: DaskClient | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str | None = None,
        settled: Settled | None = None,
    ) -> Result: ...

    @overload
    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        maxiter: int | None = None,
        chunks: int | str = "auto",
        *,
        client: Any,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str | None = None,
        settled: Settled | None = None,
    ) -> Coroutine[Any, Any, Result]: ...

    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        maxiter: int | None = None,
        chunks: int | str = "auto",
        client: Any = None,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        storage: str | None = None,
        settled: Settled | None = None,
    ) -> Result | Coroutine[Any, Any, Result]:
        """Resume a solve from its last checkpoint; the result is bitwise identical to that of an uninterrupted solve.

        The process, the cluster and the chunks may differ; the propagator and the options of the solver must be the
        same. Further checkpoints are saved in the same place.

        Parameters
        ----------
        checkpoint : str, path or Checkpoint
            The directory that was given to :meth:`solve`. A Checkpoint also says how often to save from now on.
        w0 : array_like, shape (s,), optional
            The initial state, to compare with the checkpoint's. Required if it was an array of another library.
        tol, maxiter, storage
            As for :meth:`solve`; by default those of the solve that saved the checkpoint. `maxiter` counts all cycles.
            The storage may differ: the bits are the same.
        chunks, client, callback, progress, timeout, settled
            As for :meth:`solve`. Losses before the checkpoint count if that solve measured them.

        Returns
        -------
        Result
            Covers the whole solve; only its records and timings are of this part. `phi_evaluations` counts those up to
            the checkpoint, those since, and one F-relaxation to make the state from its C-points (with "c-points" up to
            the C-relaxation after it). In an asynchronous client's event loop, a coroutine that returns it.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, it is damaged, or it is of another problem.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import daskmgrit as dm
        >>> def halve(weights, index, level):
        ...     return weights * 0.5 ** (2**level) * (1 + 0.1 * np.sin(weights))
        >>> solver = dm.MGRIT(halve, steps=64)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     first = solver.solve(np.ones(3), maxiter=1, checkpoint=directory)
        ...     result = solver.resume(directory, maxiter=50)
        >>> first.reason, result.reason, result.residuals == solver.solve(np.ones(3)).residuals
        ('maxiter', 'tol', True)
        """
        arguments = Arguments(tol, maxiter, chunks, client, callback, checkpoint, progress, timeout, storage, settled)
        return run_or_await(partial(resume_from_checkpoint, self, w0), arguments)
