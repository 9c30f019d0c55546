"""A module as a function of its weights: what of it is state, what is constant, and what cannot be either."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from daskmgrit.errors import PropagatorError

__all__ = ["Layout", "check_buffers", "explain", "gradient_of", "running_statistics", "to_state"]

_NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.InstanceNorm1d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)


class Layout:
    """Where tensors lie in a flat vector, by name.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The tensors, in their order.

    Examples
    --------
    >>> layout = Layout({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
    >>> layout.size, {name: tuple(part.shape) for name, part in layout.split(torch.zeros(5, 8)).items()}
    (8, {'weight': (5, 2, 3), 'bias': (5, 2)})
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.size = sum(self.sizes)

    def split(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the tensors (k, …) of each row of (k, size), by name."""
        if not self.sizes:
            return {}
        parts = torch.split(rows, self.sizes, dim=1)
        return {name: part.reshape(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def join(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return rows (k, size) of tensors (k, …)."""
        return torch.cat([tensors[name].reshape(tensors[name].shape[0], -1) for name in self.shapes], dim=1)


def running_statistics(module: torch.nn.Module) -> dict[str, float]:
    """Return the buffers that a training step updates, with their momentum.

    Raises
    ------
    ValueError
        If a normalisation averages over all steps (``momentum=None``).
    """
    found = {}
    for name, part in module.named_modules():
        if isinstance(part, _NORMS) and part.training and part.track_running_stats:
            if part.momentum is None:
                raise ValueError(
                    f"module has {name or 'itself'} with momentum=None, an average over all steps before: give it a "
                    "momentum, or call module.eval()"
                )
            for buffer in ("running_mean", "running_var"):
                found[f"{name}.{buffer}" if name else buffer] = float(part.momentum)
    return found


def check_buffers(module: torch.nn.Module, run: Callable[[torch.nn.Module], Any], known: Mapping[str, float]) -> None:
    """Raise if a pass through the module changes buffers other than running statistics.

    Raises
    ------
    ValueError
        The message names them.
    """
    trial = copy.deepcopy(module)
    before = {name: buffer.clone() for name, buffer in trial.named_buffers()}
    with torch.no_grad():
        run(trial)
    changed = [
        name
        for name, buffer in trial.named_buffers()
        if name not in known and not name.endswith("num_batches_tracked") and not torch.equal(before[name], buffer)
    ]
    if changed:
        raise ValueError(
            f"module changes its buffers {', '.join(changed)} in a forward pass: that is state that a step does not "
            "return; call module.eval(), or keep it among the parameters"
        )


def gradient_of(
    module: torch.nn.Module,
    value: Callable[[Callable[..., Any], Sequence[torch.Tensor]], torch.Tensor],
    constants: Mapping[str, torch.Tensor],
) -> Callable[..., Any]:
    """Return a function that gives the loss gradient and the new running statistics of one state.

    Parameters
    ----------
    module : Module
        For one thread's use: while it is called, its tensors are others.
    value : callable
        ``value(model, parts) -> loss`` for a model (a function of its inputs) and the step's data.
    constants : mapping
        Parameters and buffers that are not state.
    """

    def loss_of(
        weights: Mapping[str, torch.Tensor], statistics: Mapping[str, torch.Tensor], *parts: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # Running statistics are written to.
        own = {name: tensor.clone() for name, tensor in statistics.items()}
        counters = {n: t.clone() for n, t in constants.items() if n.endswith("num_batches_tracked")}
        tensors = {**constants, **counters, **weights, **own}
        loss = value(lambda *args, **options: functional_call(module, tensors, args, options), parts)
        return loss, own

    return torch.func.grad(loss_of, has_aux=True)


def explain(error: Exception) -> PropagatorError:
    """Return what an error inside torch.func means for the user."""
    text = str(error)
    if "random" in text and "vmap" in text:
        return PropagatorError(
            "module draws random numbers in a forward pass, as dropout does: a step must give the same result each "
            "time it is computed. Call module.eval(), or give its dropout p=0"
        )
    return PropagatorError(
        f"module, loss and data do not go through torch.func ({type(error).__name__}: {text}): the loss must be one "
        "number, made of tensors alone"
    )


def to_state(tensors: Sequence[torch.Tensor]) -> np.ndarray:
    """Return tensors one after another as a NumPy vector."""
    return np.concatenate([tensor.detach().cpu().numpy().ravel() for tensor in tensors])
