"""An existing PyTorch training loop as a propagator: the function for the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from daskmgrit.coarse.long_steps import long_steps
from daskmgrit.models.data import DataRule
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.torch.propagator import TorchPropagator

__all__ = ["propagator"]


def propagator(
    module: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer],
    data: Any,
    *,
    batch: int | DataRule | None = None,
    schedule: Callable[[int], float] | Sequence[float] | None = None,
    coarsening: int | Sequence[int] = 2,
    cap: int | None = None,
    coarse: str | Sequence[str] = "capped",
    max_rate: float | None = None,
    steps: int | None = None,
    rank: int | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    chunk_size: int | None = None,
) -> TorchPropagator:
    """Make a propagator of a PyTorch training loop: one step of an optimizer on a module's loss.

    Parameters
    ----------
    module : torch.nn.Module
        The network, with its initial weights, in the mode for the training (train or eval). It is not changed.
        Buffers, and parameters that require no gradient or that the loss does not reach, are constants. Running
        statistics that batch normalisation updates in training mode are part of the state.
    loss : callable
        ``loss(module(inputs), targets)``, one number, if `data` are pairs; else ``loss(model, data)``, where `model` is
        the module with the weights of a step. A loss must take the module and its weights from `model`.
    optimizer : torch.optim.Optimizer or callable
        SGD (with momentum, Nesterov's or not), Adam or AdamW over parameters of the module, or a function of the
        parameters that makes one. If it has made steps, training continues with its moments.
    data : tuple, Tensor, mapping, Dataset or DataLoader
        ``(inputs, targets)``, a `TensorDataset`, or a `DataLoader`, whose batches are drawn once and then taken in
        turn, all of one size; or the tensor, or mapping of names to tensors, that the loss takes.
    batch : int or data rule, optional
        Examples per step, taken in turn, or a rule of :mod:`daskmgrit.models`. By default all examples.
    schedule : callable or sequence of float, optional
        Factor of the learning rate at fine step i, as ``torch.optim.lr_scheduler.LambdaLR`` takes it, or the factors
        of all steps; steps beyond the last factor have the last one. If the optimizer has a scheduler of PyTorch, give
        its factors of the initial rate.
    coarsening : int or list of int, default 2
        The solver's.
    cap : int, optional
        Maximum number of fine steps that a coarse step takes at once, see Notes.
    coarse : str or sequence of str, default "capped"
        With "chebyshev" or "substeps" coarse steps of plain gradient descent have their full length, in several stages
        (Solver 4), see :class:`daskmgrit.coarse.CoarseRule`. With batches, `batch` is then best a
        :class:`daskmgrit.models.Window`. With "deflated" they take one gradient, and the curvatures that are found
        here; ``phi.rough_guess(steps)`` is then a good initial guess.
    max_rate : float, optional
        alpha_max of these steps, the largest stable rate; by default estimated along the first 64 steps.
    steps : int, optional
        With "deflated": N, the steps along which curvatures are found, those of the mean gradient of at most 128 steps.
    rank : int, optional
        With "deflated": the number of curvatures, by default 32.
    dtype : torch.dtype, optional
        The dtype to compute in, by default the module's. The state has it too.
    device : str or torch.device, optional
        Where to compute, by default where the module is: "cuda" is the first device that a worker sees. States stay
        there.
    chunk_size : int, optional
        Maximum number of states at once, as in :func:`torch.func.vmap`; by default all of a block.

    Returns
    -------
    TorchPropagator
        ``phi.w0`` is the state to start from, ``phi.module(result.final)`` the trained module.

    Raises
    ------
    TypeError, ValueError
        If the optimizer, one of its settings, or the data are of an unknown kind.
    PropagatorError
        If the module draws random numbers (dropout), or torch.func cannot take it.

    Notes
    -----
    A coarse step of level l is ``M = min(m**l, cap)`` steps of the optimizer with one gradient, in closed form: momenta
    decay by ``beta**M``, weights move as far as M steps would move them. For SGD without momentum that is M times the
    rate. So `cap` is the largest stable rate over that of the optimizer, as alpha_max is in the paper's equation 14.
    Adam's ``weight_decay`` converges slowly where weights have no other gradient: near zero each step changes their
    sign, which no coarse step follows. AdamW's does not.

    Examples
    --------
    >>> import daskmgrit as dm
    >>> import daskmgrit.torch
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Linear(3, 1).double()
    >>> x = torch.randn(20, 3, dtype=torch.float64)
    >>> sgd = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.5)
    >>> phi = daskmgrit.torch.propagator(module, torch.nn.functional.mse_loss, sgd, (x, x[:, :1] - 1), cap=8)
    >>> result = dm.MGRIT(phi, 64).solve(phi.w0, "constant")
    >>> result.reason, phi.loss(result.final) < phi.loss(phi.w0)
    ('tol', True)
    """
    phi = TorchPropagator(
        module, loss, optimizer, data, batch, schedule, StepLength(coarsening, cap), dtype, device, chunk_size
    )
    phi.long = long_steps(phi, coarse, max_rate, cap, steps, rank)
    return phi
