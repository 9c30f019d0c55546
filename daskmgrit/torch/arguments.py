"""The optimizer, parameters and device of the user; invalid ones are refused by name."""

from __future__ import annotations

from typing import Any

import torch

from daskmgrit.utils.validation import brief

__all__ = ["ORDER", "check_loss", "computed_in", "device_name", "made_optimizer", "trained_parameters"]

ORDER = "the order is propagator(module, loss, optimizer, data)"


def check_loss(loss: Any) -> None:
    """Check that a loss is a function, or a callable object."""
    if isinstance(loss, type):
        raise TypeError(f"loss={loss.__name__} is a class: give an object of it, such as {loss.__name__}(); {ORDER}")
    if not callable(loss):
        raise TypeError(
            f"loss={brief(loss)} is not callable: give a function such as torch.nn.functional.mse_loss; {ORDER}"
        )


def computed_in(dtype: Any, trained: dict[str, torch.nn.Parameter]) -> torch.dtype:
    """Return the dtype to compute in: the requested one, or that of the weights."""
    dtypes = {p.dtype for p in trained.values()}
    if odd := [each for each in dtypes if each.is_complex]:
        raise ValueError(
            f"module has weights of {odd[0]}, which a step cannot take: hold real and imaginary parts instead, of "
            "torch.float32 or torch.float64"
        )
    if dtype is None and len(dtypes) > 1:
        raise ValueError(f"module has weights of {', '.join(map(str, dtypes))}: give dtype, the one for all of them")
    wanted: torch.dtype = dtypes.pop() if dtype is None else dtype
    if wanted not in (torch.float32, torch.float64):
        raise ValueError(f"dtype={brief(wanted)} is not supported: give torch.float32 or torch.float64")
    return wanted


def made_optimizer(optimizer: Any, module: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that a function of the parameters makes."""
    if isinstance(optimizer, type):
        raise TypeError(
            f"optimizer={optimizer.__name__} is a class: give an object of it, such as "
            f"{optimizer.__name__}(module.parameters(), lr=0.01); {ORDER}"
        )
    reason: TypeError | None = None
    try:
        made = optimizer(module.parameters()) if callable(optimizer) else optimizer
    except TypeError as error:
        made, reason = None, error
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer={brief(optimizer)} is no torch.optim.Optimizer{f' ({reason})' if reason else ''}: give "
            "torch.optim.SGD, Adam or AdamW over module.parameters(), or a function of the parameters that makes one; "
            f"{ORDER}"
        ) from reason
    return made


def trained_parameters(optimizer: torch.optim.Optimizer, module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that the optimizer moves, by their names in the module; frozen ones are constants."""
    own = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    named = {name: tensor for name, tensor in module.named_parameters() if id(tensor) in own}
    if len(named) < len(own):
        raise ValueError(
            f"optimizer has {len(own)} parameters, of which {len(own) - len(named)} are not of this module: make it of "
            "module.parameters()"
        )
    trained = {name: tensor for name, tensor in named.items() if tensor.requires_grad}
    if not trained:
        raise ValueError(
            f"optimizer has {len(own)} parameters, all of them frozen: call requires_grad_() on those to be trained"
        )
    return trained


def device_name(device: Any) -> str:
    """Return the name of a device, which can be sent."""
    try:
        return str(torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'device={device!r} is not one of PyTorch\'s ({str(error).splitlines()[0]}): give "cpu", "cuda", "cuda:1" …'
        ) from None
