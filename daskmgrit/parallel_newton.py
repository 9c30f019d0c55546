"""The second solver that a user holds: parallel Newton over a sliding window of training steps."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any, overload

from daskmgrit.display.html import Markup, block, fields, short_name
from daskmgrit.executors.choose import DaskClient
from daskmgrit.newton.settings import (
    JACOBIANS,
    WORK,
    NewtonSettings,
    choose_jacobian,
    choose_size,
    is_auto,
    whole_run,
)
from daskmgrit.newton.sizes import Size
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.recurrence.trial import check_arguments
from daskmgrit.solver.entry import resume_window, run_or_await, solve_by_window
from daskmgrit.solver.options import Callback, WindowArguments
from daskmgrit.solver.result import Result
from daskmgrit.solver.stopping import Settled
from daskmgrit.utils.validation import brief, integer_option, number_option

__all__ = ["ParallelNewton"]


class ParallelNewton:
    """Parallel Newton over a sliding window of the steps of a training run.

    Solves ``w[i+1] = Phi(w[i])``, i = 0 … N-1, a window of steps at a time [1]_ [2]_ [3]_. A sweep applies Phi to all
    states of the window at once and corrects them by a scan; then the window slides over the steps whose residual is
    small enough. The method needs no coarse Phi and holds a window instead of N states. Each sweep accepts at least one
    step, so a solve ends after at most N sweeps. Its result is that of the serial loop, to within the tolerance.

    Parameters
    ----------
    phi : callable
        The propagator, as for :class:`daskmgrit.MGRIT`; it is applied on level 0 only. It may have methods
        ``gradient(weights, index)`` and ``advance(state, gradient, index)``, which give a step's gradient and the
        optimizer's update separately. A sweep then computes all gradients of the window at once and runs the
        optimizer's own recurrence over them. This makes momentum, Nesterov, Adam and AdamW as quick as gradient
        descent.
    steps : int
        N, the number of training steps.
    window : int or "auto", default "auto"
        Slots of the window, each a step or `interval` steps. "auto" follows the number of steps that sweeps accept. On
        a cluster with several threads it has no more slots than there are threads. With "lowrank" a window of all steps
        is swept with a Jacobian for each of 16 parts of the run. That is for short horizons, alpha N lambda_max up to
        about 20.
    jacobian : {"auto", "identity", "lowrank", "full"}, default "auto"
        The approximation of a step's Jacobian. "identity" costs nothing and is for any Phi. "lowrank" takes the `rank`
        directions of largest curvature into account. "full" computes Jacobians by finite differences, with s + 1 Phi
        for each step at once; it is for s up to some tens and many times s workers. "auto" is "identity".
    rank : int, default 32
        Directions of "lowrank".
    interval : int, default 1
        Steps of a slot, taken one after another. Increase it where an exchange costs as much as a Phi.
    work : float, default 3.0
        Maximum number of evaluations of a step with ``window="auto"``, on average.

    Raises
    ------
    ValueError
        If an option is out of range; the message names it, its value and the remedy.
    TypeError
        If `phi` is not callable.
    PropagatorError
        If `phi` does not take three arguments.

    References
    ----------
    .. [1] A. Shih, S. Belkhale, S. Ermon, D. Sadigh, N. Anari, "Parallel Sampling of Diffusion Models", 2023.
    .. [2] Y. H. Lim, Q. Zhu, J. Selfridge, M. F. Kasim, "Parallelizing non-linear sequential models over the sequence
       length", 2024.
    .. [3] X. Gonzalez, A. Warrington, J. T. H. Smith, S. W. Linderman, "Towards Scalable and Stable Parallelization of
       Nonlinear RNNs", 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def descend(weights, index, level):
    ...     return weights - 0.05 * np.sin(weights)
    >>> result = dm.ParallelNewton(descend, steps=64, window=8, jacobian="identity").solve(np.ones(3))
    >>> result.reason, sum(result.accepted), result.iterations < 48
    ('tol', 64, True)
    >>> exact = dm.ParallelNewton(descend, steps=64, window=8).solve(np.ones(3), tol=0)
    >>> bool((exact.final == dm.train_serially(descend, np.ones(3), 64)[-1]).all())
    True
    """

    def __init__(
        self,
        phi: Phi,
        steps: int,
        window: int | str = "auto",
        jacobian: str = "auto",
        rank: int = 32,
        interval: int = 1,
        work: float = 3.0,
    ) -> None:
        if not callable(phi):
            raise TypeError(
                f"phi={brief(phi)} is not callable: give a function phi(weights, index, level) -> new weights"
            )
        check_arguments(phi)
        if not isinstance(jacobian, str) or jacobian not in ("auto", *JACOBIANS):
            names = ", ".join(f'"{name}"' for name in JACOBIANS)
            raise ValueError(f'jacobian={brief(jacobian)} is not known: give "auto" or one of {names}')
        self.phi = phi
        self.steps = integer_option("steps", steps, 1, "it is the number of training steps")
        self.window, self.jacobian = window, jacobian
        self.rank = integer_option("rank", rank, 1, "it is the number of directions of largest curvature")
        self.interval = integer_option("interval", interval, 1, "it is the number of steps of a slot")
        self.work = number_option("work", work, WORK, least=1)
        if not is_auto(window):
            choose_size(window, "identity")

    def settings(self, tol: float, size: Size, dtype: Any = float) -> NewtonSettings:
        """Return the numerical method for states of a dtype."""
        jacobian = choose_jacobian(self.jacobian, dtype)
        if jacobian == "lowrank" and (size.first - 1) * self.interval >= self.steps - self.interval:
            return whole_run(self.steps, tol, self.interval, self.rank)
        return NewtonSettings(self.steps, tol, jacobian, size, self.interval, self.rank)

    def _lines(self) -> list[tuple[str, str]]:
        apart = "gradient and update apart" if is_split(self.phi) else "taken as a whole"
        slot = "1 step" if self.interval == 1 else f"{self.interval} steps in a row"
        rank = f", rank {self.rank}" if self.jacobian == "lowrank" else ""
        return [
            ("steps", str(self.steps)),
            ("window", f"{self.window} slots of {slot}" if self.window != "auto" else f"auto, slots of {slot}"),
            ("jacobian", f"{self.jacobian}{rank}"),
            ("phi", f"{short_name(self.phi)}, {apart}"),
        ]

    def __str__(self) -> str:
        return "\n".join(["parallel Newton over a sliding window", *(f"  {a:9s} {b}" for a, b in self._lines())])

    def __repr__(self) -> str:
        return f"<ParallelNewton: {self.steps} steps, window {self.window}, jacobian {self.jacobian}>"

    def _repr_html_(self) -> Markup:
        return block("parallel Newton over a sliding window", fields(self._lines()))

    @overload
    def solve(
        self,
        w0: Any,
        tol: float | None = None,
        client: DaskClient | None = None,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
        keep: str = "final",
    ) -> Result: ...

    @overload
    def solve(
        self,
        w0: Any,
        tol: float | None = None,
        *,
        client: Any,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
        keep: str = "final",
    ) -> Coroutine[Any, Any, Result]: ...

    def solve(
        self,
        w0: Any,
        tol: float | None = None,
        client: Any = None,
        callback: Callback | None = None,
        checkpoint: Any = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
        keep: str = "final",
    ) -> Result | Coroutine[Any, Any, Result]:
        """Solve for the state after the last step.

        Parameters
        ----------
        w0 : array_like, shape (s,)
            The initial state, with the optimizer's moments if `phi` has any; of any library, as for
            :meth:`daskmgrit.MGRIT.solve`.
        tol : float, optional
            Absolute tolerance of the residual's 2-norm over all steps, by default ``1e-9*sqrt(N)``, in single
            precision as for :meth:`daskmgrit.MGRIT.solve`. With 0 the result has the bits of the serial
            loop; states in host memory are evaluated one by one then.
        client : distributed.Client, optional
            The cluster to solve on, as for :meth:`daskmgrit.MGRIT.solve`.
        callback : callable, optional
            Called as ``callback(sweep, residual, weights)`` after the sweeps that became known together; `weights` (s,)
            is the last accepted state. Returning True stops the solve.
        checkpoint : str, path or Checkpoint, optional
            A directory in which to save what :meth:`resume` needs, every minute and at the end; pass a
            :class:`daskmgrit.Checkpoint` to choose how often, by sweeps or seconds. Only the client writes to it.
        progress : bool, default False
            Print a line per sweep, or for sweeps that became known together.
        timeout : float or str, optional
            How long to wait for a first worker, a replacement, a reply or any progress. A Phi that runs is progress.
        settled : Settled, optional
            Also stop, with ``reason="settled"``, when a loss of the last accepted state has settled, that is, when it
            has hardly changed from one hundredth of the steps to the next.
        keep : {"final", "all"}, default "final"
            "all" keeps the states of all steps, and ``result.weights`` is a dask array (N+1, s); else it is None.

        Returns
        -------
        Result
            `iterations` counts sweeps. `residuals` are those over the window before each sweep, and last over all
            steps.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of range or of the wrong kind.
        PropagatorError
            If phi returns the wrong shape or dtype, or writes to its input.
        ClusterError
            If the cluster has no workers, they cannot import this version of daskmgrit or phi, or the cluster is lost.
        """
        if keep == "all" and self.interval > 1:
            raise ValueError(f'keep="all" needs interval=1, not {self.interval}: states within a slot are not kept')
        if keep == "all" and checkpoint is not None:
            raise ValueError(
                'keep="all" and checkpoint exclude each other: a checkpoint holds the window alone, so leave one '
                "of them out"
            )
        arguments = WindowArguments(tol, client, callback, checkpoint, progress, timeout, settled, keep)
        return run_or_await(partial(solve_by_window, self, w0), arguments)

    @overload
    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        client: DaskClient | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
    ) -> Result: ...

    @overload
    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        *,
        client: Any,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
    ) -> Coroutine[Any, Any, Result]: ...

    def resume(
        self,
        checkpoint: Any,
        w0: Any = None,
        tol: float | None = None,
        client: Any = None,
        callback: Callback | None = None,
        progress: bool = False,
        timeout: float | str | None = None,
        settled: Settled | None = None,
    ) -> Result | Coroutine[Any, Any, Result]:
        """Resume a solve from its last checkpoint; the result is bitwise identical to that of an uninterrupted solve.

        The process and the cluster may differ; the propagator and the options of the solver must be the same. The rule
        for the window is that of the solve that saved the checkpoint, with its number of threads: a solver with
        ``window="auto"`` takes any rule from the checkpoint.

        Parameters
        ----------
        checkpoint : str, path or Checkpoint
            The directory that was given to :meth:`solve`.
        w0 : array_like, shape (s,), optional
            The initial state, to compare with the checkpoint's. Required if it was an array of another library.
        tol : float, optional
            As for :meth:`solve`; by default that of the solve that saved the checkpoint.
        client, callback, progress, timeout, settled
            As for :meth:`solve`.

        Returns
        -------
        Result
            Covers the whole solve; only its records and timings are of this part.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, it is damaged, or it is of another problem, method or window.
        """
        arguments = WindowArguments(tol, client, callback, checkpoint, progress, timeout, settled, "final")
        return run_or_await(partial(resume_window, self, w0), arguments)
