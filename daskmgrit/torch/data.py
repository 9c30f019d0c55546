"""Training data in the usual forms of PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Data", "read_data"]

logger = logging.getLogger("daskmgrit")

# Samplers that give another order in every epoch.
_SHUFFLE = (
    torch.utils.data.RandomSampler,
    torch.utils.data.SubsetRandomSampler,
    torch.utils.data.WeightedRandomSampler,
)


@dataclass(frozen=True)
class Data:
    """Training data as tensors in host memory.

    Attributes
    ----------
    parts : list of Tensor
        Inputs and targets, or the loss's own data.
    names : tuple of str or None
        Their names, if they were given by name.
    pairs : bool
        Whether they are inputs and targets.
    batch : int or None
        Examples per step, if the data set it.
    """

    parts: list[torch.Tensor]
    names: tuple[str, ...] | None
    pairs: bool
    batch: int | None

    @property
    def examples(self) -> int:
        """K, the number of examples."""
        return next((len(part) for part in self.parts if part.ndim), 0)

    def take(self, parts: Sequence[torch.Tensor], numbers: np.ndarray | None) -> list[torch.Tensor]:
        """Return the chosen examples of each part, all for None."""
        if numbers is None:
            return list(parts)
        rows = [len(part) if part.ndim else 0 for part in parts]
        if len(set(rows)) > 1:
            raise ValueError(
                f"data have parts of {', '.join(map(str, rows))} rows, which cannot be taken in "
                "batches: leave batch out"
            )
        chosen = torch.as_tensor(numbers, device=parts[0].device)
        return [part[chosen] for part in parts]

    def loss(self, loss: Callable[..., Any], model: Callable[..., Any], parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a model."""
        if self.pairs:
            value = loss(model(parts[0]), parts[1])
        else:
            value = loss(model, parts[0] if self.names is None else dict(zip(self.names, parts, strict=True)))
        if not isinstance(value, torch.Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"loss returned {shape}, not one number: reduce it, as by .mean()")
        return value


def read_data(data: Any, dtype: torch.dtype) -> Data:
    """Return the data that a user gave; floating-point ones become `dtype`.

    Raises
    ------
    TypeError, ValueError
        If they are of no known form, or empty.
    """
    read = _read(data, dtype)
    if any(not part.numel() for part in read.parts):
        raise ValueError(f"data are empty: {', '.join(str(tuple(part.shape)) for part in read.parts)}; give examples")
    return read


def _read(data: Any, dtype: torch.dtype) -> Data:
    if isinstance(data, torch.utils.data.DataLoader):
        return _from_loader(data, dtype)
    if isinstance(data, torch.utils.data.TensorDataset):
        data = data.tensors if len(data.tensors) > 1 else data.tensors[0]
    elif isinstance(data, torch.utils.data.Dataset):
        raise TypeError(
            f"data={type(data).__name__} is a Dataset of another kind: wrap it in a DataLoader, which makes batches"
        )
    if isinstance(data, Mapping) and data:
        parts = [_tensor(part, dtype, f"data[{name!r}]") for name, part in data.items()]
        return Data(parts, tuple(data), False, None)
    if isinstance(data, torch.Tensor | np.ndarray):
        return Data([_tensor(data, dtype, "data")], None, False, None)
    if isinstance(data, tuple | list) and len(data) == 2:
        x, y = (_tensor(part, dtype, name) for part, name in zip(data, ("inputs", "targets"), strict=True))
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            raise ValueError(
                f"data are inputs {tuple(x.shape)} and targets {tuple(y.shape)}: give equal numbers of them"
            )
        return Data([x, y], None, True, None)
    raise TypeError(
        f"data={type(data).__name__} are of no known form: give (inputs, targets), a TensorDataset or a DataLoader of "
        "such pairs, or the tensor, or mapping of names to tensors, that the loss takes"
    )


def _from_loader(loader: Any, dtype: torch.dtype) -> Data:
    """Draw a loader's batches once."""
    samplers = [loader.sampler, *(getattr(each, "sampler", None) for each in (loader.batch_sampler, loader.sampler))]
    if any(isinstance(sampler, _SHUFFLE) for sampler in samplers):
        logger.warning(
            "data is a DataLoader that shuffles: its batches are drawn once, and every epoch sees them in this order. "
            "If this is acceptable, give shuffle=False; if not, give tensors, and as batch a rule of daskmgrit.models"
        )
    batches = [tuple(batch) if isinstance(batch, tuple | list) else (batch,) for batch in loader]
    if not batches:
        raise ValueError("data is a DataLoader without batches: give one with examples")
    kinds = [type(part).__name__ for part in batches[0]]
    if len(kinds) > 2 or not all(isinstance(part, torch.Tensor) and part.ndim for part in batches[0]):
        raise TypeError(
            f"data is a DataLoader whose batches are ({', '.join(kinds)}): give one of pairs of tensors, inputs and "
            "targets, or a mapping of names to tensors, all examples in each, and batch"
        )
    sizes = [len(batch[0]) for batch in batches]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"data is a DataLoader with batches of {', '.join(map(str, sorted(set(sizes))))} examples, but every step "
            "needs the same number: give drop_last=True, or a batch_size that divides the number of examples"
        )
    parts = [torch.cat(list(part)) for part in zip(*batches, strict=True)]
    return Data([_tensor(part, dtype, "data") for part in parts], None, len(parts) == 2, sizes[0])


def _tensor(part: Any, dtype: torch.dtype, name: str) -> torch.Tensor:
    try:
        if isinstance(part, tuple | list) and any(isinstance(item, torch.Tensor) and item.ndim for item in part):
            raise TypeError("several tensors")
        tensor = torch.as_tensor(part).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} of data is {type(part).__name__}, no tensor ({error}): give a tensor or array of numbers; if a "
            "model takes several, a mapping of names to tensors and loss(model, data)"
        ) from None
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
