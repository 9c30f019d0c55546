"""A module as a function of its weights: the parts that are state, constants, or not supported."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from daskmgrit.errors import PropagatorError

__all__ = [
    "ParameterMap",
    "batch_counts",
    "check_transformable",
    "explain",
    "gradient_of",
    "reached",
    "running_statistics",
    "to_state",
]

_NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.InstanceNorm1d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)


class ParameterMap:
    """The places of tensors in a flat vector, by name.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The tensors, in their order.

    Examples
    --------
    >>> layout = ParameterMap({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
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


def batch_counts(module: torch.nn.Module, statistics: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Return the counts of batches that belong to running statistics."""
    owners = {name.rpartition("running_mean")[0] for name in statistics if name.endswith("running_mean")}
    buffers = dict(module.named_buffers())
    counts = (f"{owner}num_batches_tracked" for owner in owners)
    return {name: buffers[name] for name in counts if buffers.get(name) is not None}


def check_transformable(module: torch.nn.Module) -> None:
    """Check that torch.func can replace the weights of a module.

    Raises
    ------
    ValueError
        If the module is compiled, or computes weights from others in a hook.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                f"module has {name or 'itself'} as a torch.jit.ScriptModule, whose weights torch.func cannot replace: "
                "give the module that it was scripted or traced from"
            )
        computed = [key for key, value in vars(part).items() if isinstance(value, torch.Tensor) and value.grad_fn]
        if computed:
            raise ValueError(
                f"module computes {name + '.' if name else ''}{computed[0]} from other weights in a hook, as "
                "torch.nn.utils.weight_norm, spectral_norm and prune do: make that permanent by remove_weight_norm, "
                "remove_spectral_norm or prune.remove; "
                "on the threads of one process torch.nn.utils.parametrizations does, which PyTorch cannot pickle"
            )


def reached(
    module: torch.nn.Module,
    original: torch.nn.Module,
    value: Callable[[torch.nn.Module], torch.Tensor],
    names: Sequence[str],
    known: Mapping[str, float],
) -> list[str]:
    """Return the weights that the loss depends on, as one pass of autograd shows.

    An optimizer of PyTorch does not change a parameter without a gradient, even one that it would decay.

    Parameters
    ----------
    module : Module
        A copy that may be changed.
    original : Module
        The user's, which the loss must not take in place of the model that it is given.
    value : callable
        ``value(model) -> loss``.
    names : sequence of str
        The weights.
    known : mapping
        Running statistics.

    Raises
    ------
    ValueError
        If a forward pass changes buffers other than running statistics, if the loss takes the gradient of the original
        module, or of none.
    PropagatorError
        If module or loss fail with these data.
    """
    own, others = dict(module.named_parameters()), dict(original.named_parameters())
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    kept = [(buffer, buffer.clone()) for buffer in original.buffers()]
    tensors = [parameters[name] for parameters in (own, others) for name in names]
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    try:
        with torch.enable_grad(), torch.random.fork_rng(list(devices)):
            loss = value(module)
    except ValueError:
        raise
    except Exception as error:
        raise PropagatorError(
            f"module and loss fail with these data ({type(error).__name__}: {error}): give data that fit them; a loss "
            "of more than outputs and targets is loss(model, data), and uses the module through model only"
        ) from error
    finally:
        with torch.no_grad():
            for buffer, was in kept:
                buffer.copy_(was)
    changed = [
        name
        for name, buffer in module.named_buffers()
        if name not in known and not name.endswith("num_batches_tracked") and not torch.equal(before[name], buffer)
    ]
    if spectral := [name for name in changed if name.endswith(("_u", "_v"))]:
        raise ValueError(
            f"module changes its buffers {', '.join(spectral)} in a forward pass, as spectral_norm does: "
            "a step does not return this state; make it permanent by torch.nn.utils.remove_spectral_norm or "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if changed:
        raise ValueError(
            f"module changes its buffers {', '.join(changed)} in a forward pass, and a step does not return this "
            "state: call module.eval(), or keep it among the parameters"
        )
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True) if loss.requires_grad else [None] * len(tensors)
    if any(gradient is not None for gradient in gradients[len(names) :]):
        raise ValueError(
            "loss, or a hook, uses the module or its weights from outside its arguments, where they are fixed: write "
            "loss(model, data), which takes everything of the module from model"
        )
    found = [name for name, gradient in zip(names, gradients, strict=False) if gradient is not None]
    if not found:
        raise ValueError(
            "loss depends on no weight that the optimizer trains: check that nothing is detached on the way"
        )
    return found


class _Whole(torch.nn.Module):
    """A module with its loss, so that the loss sees the module itself with other tensors."""

    def __init__(
        self, model: torch.nn.Module, value: Callable[[torch.nn.Module, Sequence[torch.Tensor]], torch.Tensor]
    ) -> None:
        super().__init__()
        self.model, self.value = model, value

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        return self.value(self.model, parts)


def gradient_of(
    module: torch.nn.Module,
    value: Callable[[torch.nn.Module, Sequence[torch.Tensor]], torch.Tensor],
    constants: Mapping[str, torch.Tensor],
) -> Callable[..., Any]:
    """Return a function that gives the loss gradient and the new running statistics of one state.

    Parameters
    ----------
    module : Module
        A copy for one thread: during a call its tensors are replaced.
    value : callable
        ``value(model, parts) -> loss`` for the module, with the tensors of a state, and the step's data.
    constants : mapping
        Parameters and buffers that are not state.
    """
    whole = _Whole(module, value)

    def loss_of(
        weights: Mapping[str, torch.Tensor], statistics: Mapping[str, torch.Tensor], *parts: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # Running statistics are written to.
        own = {name: tensor.clone() for name, tensor in statistics.items()}
        counters = {n: t.clone() for n, t in constants.items() if n.endswith("num_batches_tracked")}
        tensors = {**constants, **counters, **weights, **own}
        return functional_call(whole, {f"model.{name}": tensor for name, tensor in tensors.items()}, parts), own

    return torch.func.grad(loss_of, has_aux=True)


def explain(error: Exception) -> PropagatorError:
    """Return an error inside torch.func in the user's terms."""
    text = str(error)
    if "random" in text and "vmap" in text:
        same = "a step must give the same result each time it is computed"
        if _is_of_module(error):
            return PropagatorError(
                f"module draws random numbers in a forward pass, as dropout does: {same}. Call module.eval(), or give "
                "its dropout p=0"
            )
        return PropagatorError(
            f"loss draws random numbers: {same}. Draw them once, before training, and give them with the data"
        )
    if "does not require grad" in text or "autograd" in text or "not have been used in the graph" in text:
        remedy = "differentiate the model in a loss by torch.func.grad and torch.func.vmap, not by torch.autograd"
    elif ".item()" in text or "data-dependent" in text:
        remedy = "the loss must be one number, made of tensors alone"
    else:
        remedy = "see the limits of torch.func.vmap and torch.func.grad"
    return PropagatorError(
        f"module, loss and data do not go through torch.func ({type(error).__name__}: {text}): {remedy}"
    )


def _is_of_module(error: Exception) -> bool:
    """Whether an error came from the user's module, not from the loss, as the calls on its way show."""
    own: set[Any] = set()
    for frame, _ in traceback.walk_tb(error.__traceback__):
        caller = frame.f_locals.get("self")
        if isinstance(caller, _Whole):
            own = set(caller.model.modules())
        elif isinstance(caller, torch.nn.Module) and caller in own:
            return True
    return False


def to_state(tensors: Sequence[torch.Tensor]) -> np.ndarray:
    """Return tensors one after another as a NumPy vector."""
    return np.concatenate([tensor.detach().cpu().numpy().ravel() for tensor in tensors])
