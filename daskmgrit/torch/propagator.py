"""A PyTorch module, loss and optimizer as a propagator, through torch.func."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch

from daskmgrit.coarse.long_steps import LongSteps, TakesLongSteps
from daskmgrit.errors import PropagatorError
from daskmgrit.models.data import DataRule
from daskmgrit.propagators.batches import data_rule
from daskmgrit.propagators.row_bits import RowBits
from daskmgrit.recurrence.state import one_state
from daskmgrit.recurrence.step_length import AnyCoarsening, StepLength
from daskmgrit.torch.arguments import ORDER, check_loss, computed_in, device_name, made_optimizer, trained_parameters
from daskmgrit.torch.data import Data, read_data
from daskmgrit.torch.kernel_graphs import KernelGraphs
from daskmgrit.torch.modules import (
    ParameterMap,
    batch_counts,
    check_transformable,
    explain,
    gradient_of,
    reached,
    running_statistics,
    to_state,
)
from daskmgrit.torch.optimizers import Schedule, read_optimizer
from daskmgrit.torch.updates import Updates
from daskmgrit.utils.validation import brief, integer_option

__all__ = ["TorchPropagator"]


class TorchPropagator(TakesLongSteps, AnyCoarsening):
    """A step of an optimizer on a module's loss; see :func:`daskmgrit.torch.propagator`.

    Attributes
    ----------
    w0 : ndarray, shape (s,)
        The state to start from: weights by name, the optimizer's moments in the same order, running statistics.
    names : list of str
        The weights in their order.
    long : LongSteps or None
        How coarse steps are taken at full length; None if they are capped.
    """

    pure = True
    long: LongSteps | None = None

    def __init__(
        self,
        module: torch.nn.Module,
        loss: Callable[..., torch.Tensor],
        optimizer: torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer],
        data: Any,
        batch: int | DataRule | None,
        schedule: Callable[[int], float] | Sequence[float] | None,
        length: StepLength,
        dtype: torch.dtype | None,
        device: str | torch.device | None,
        chunk_size: int | None,
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"module={brief(module)} is not a torch.nn.Module; {ORDER}")
        check_transformable(module)
        check_loss(loss)
        if chunk_size is not None:
            chunk_size = integer_option(
                "chunk_size", chunk_size, 1, "it is the maximum number of states at once; None is all"
            )
        self._loss = copy.deepcopy(loss).cpu() if isinstance(loss, torch.nn.Module) else loss
        self.length, self.chunk_size = length, chunk_size
        given = optimizer if isinstance(optimizer, torch.optim.Optimizer) else made_optimizer(optimizer, module)
        self.rule = read_optimizer(given, schedule is not None)
        settings = {name: value for name, value in given.param_groups[0].items() if name != "params"}
        self._optimizer = type(given), settings
        trained = trained_parameters(given, module)
        if isinstance(loss, torch.nn.Module) and any(p is q for p in loss.parameters() for q in trained.values()):
            raise ValueError(
                "loss is a module that holds weights of the module, and would keep a copy of them: write "
                "loss(model, data), which takes them from model"
            )
        self.dtype = computed_in(dtype, trained)
        self.device = device_name(next(iter(trained.values())).device if device is None else device)
        self.data: Data = read_data(data, self.dtype)
        self.examples = data_rule(self.data.batch if batch is None else batch, self.data.examples)
        self._module = copy.deepcopy(module).to("cpu", self.dtype)
        self.statistics = running_statistics(module)
        trained = {name: trained[name] for name in self._reached(module, list(trained))}
        tensors = dict(self._module.named_buffers())
        self.layout, self._kept = ParameterMap(trained), ParameterMap({name: tensors[name] for name in self.statistics})
        self.names = list(trained)
        moments = [self.rule.initial(given.state.get(p, {}), p) for p in trained.values()]
        clock = int(max((float(state["step"]) for state in given.state.values() if "step" in state), default=0))
        parts = [*trained.values(), *(m for each in zip(*moments, strict=True) for m in each)]
        self.w0 = to_state([part.detach().to(self.dtype) for part in (*parts, *(tensors[n] for n in self.statistics))])
        self._local, self._rows, self._graphs = threading.local(), RowBits(), KernelGraphs()
        self._apart = False
        self._apart = not self.statistics or self._adds_statistics()
        self.updates = Updates(
            self.rule, Schedule(schedule), length, clock, self.layout, self._kept, self.statistics, self._apart
        )
        self._try()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_local", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local(), _rows=RowBits())

    def with_coarsening(self, coarsening: int | Sequence[int]) -> Self:
        """Return the same propagator for a solver with other coarsening factors."""
        made = super().with_coarsening(coarsening)
        made.updates = replace(self.updates, length=made.length)
        return made

    def __repr__(self) -> str:
        return f"<torch propagator: {type(self._module).__name__}, {self.rule}>"

    # -- states ------------------------------------------------------------------------------------------------------

    def to_block(self, state: np.ndarray) -> torch.Tensor:
        """Return a state as a tensor on the device that this propagator computes on.

        Raises
        ------
        PropagatorError
            If the state has another dtype or length, or there is no such device.
        """
        block = torch.from_numpy(np.array(state))
        if block.dtype != self.dtype or block.shape[-1] != self.w0.size:
            raise PropagatorError(
                f"w0 has {block.shape[-1]} entries of {block.dtype}, but states of this module and optimizer have "
                f"{self.w0.size} of {self.dtype}: start from phi.w0, or give propagator(dtype=...)"
            )
        try:
            return block.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise PropagatorError(
                f"device={self.device!r} cannot be used here ({error}): start workers where it can, or give "
                'propagator(device="cpu")'
            ) from None

    def unflatten(self, state: Any) -> dict[str, torch.Tensor]:
        """Return the weights of a state (s,), or of its weights alone, by name, as tensors in host memory."""
        size = self.layout.size
        like = self.w0[:size] if getattr(state, "shape", None) == (size,) else self.w0
        rows = torch.from_numpy(one_state(state, like))[None, :size]
        return {name: part[0] for name, part in self.layout.split(rows).items()}

    def module(self, state: Any, steps: int = 0) -> torch.nn.Module:
        """Return a copy of the module with the weights, and running statistics, of a state.

        Parameters
        ----------
        state : array_like, shape (s,)
            The state, such as ``result.final``.
        steps : int, default 0
            Steps done up to this state, which the state does not hold, for the batches that batch normalisation counts
            (`num_batches_tracked`).

        Raises
        ------
        ValueError
            If the state has another shape.
        """
        made = copy.deepcopy(self._module)
        rows = torch.from_numpy(one_state(state, self.w0))[None, self.w0.size - self._kept.size :]
        kept = {name: part[0] for name, part in self._kept.split(rows).items()}
        counts = {name: buffer + steps for name, buffer in batch_counts(made, self.statistics).items()}
        made.load_state_dict({**self.unflatten(state), **kept, **counts}, strict=False)
        return made

    def optimizer(self, state: Any, steps: int, module: torch.nn.Module) -> torch.optim.Optimizer:
        """Return an optimizer as PyTorch's own loop would have it at this state, to continue training with.

        Parameters
        ----------
        state : array_like, shape (s,)
            The state, such as ``result.final``.
        steps : int
            Steps done up to this state, which the state does not hold: Adam's bias correction depends on them.
        module : torch.nn.Module
            The module that it is to train: that of :meth:`module`, on any device.

        Returns
        -------
        torch.optim.Optimizer
            Of the class and with the settings of the one that the propagator was made with, at the initial learning
            rate if there is a `schedule`. Its moments are those of the state; Adam's second moment is the square of the
            root that a state holds.

        Raises
        ------
        ValueError
            If the state has another shape, `steps` is negative, or the module lacks a weight.
        TypeError
            If the module is not one.
        """
        steps = integer_option("steps", steps, 0, "it is the number of steps done up to this state")
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"module={brief(module)} is not a torch.nn.Module: give what phi.module(state) returns")
        named, size = dict(module.named_parameters()), self.layout.size
        for name, weight in self.unflatten(self.w0).items():
            if name not in named or named[name].shape != weight.shape:
                raise ValueError(
                    f"module has no weight {name!r} of shape {tuple(weight.shape)}: give what phi.module(state) returns"
                )
        vector, kind = one_state(state, self.w0), self._optimizer[0]
        made = kind([named[name] for name in self.names], lr=self.rule.rate)
        group = made.param_groups[0]
        group.update(copy.deepcopy(self._optimizer[1]), lr=self.rule.rate)
        # PyTorch counts updates in host memory unless all of an update is done on the device.
        counted = bool(group.get("capturable") or group.get("fused"))
        parts = [self.unflatten(vector[k * size : (k + 1) * size]) for k in range(1, self.rule.moments + 1)]
        for name in self.names if parts and steps + self.updates.clock else ():
            weight = named[name]
            moments = [part[name].to(weight.device, weight.dtype, copy=True) for part in parts]
            kept = self.rule.kept(moments, self.updates.clock + steps)
            if counted and "step" in kept:
                kept["step"] = kept["step"].to(weight.device)
            made.state[weight].update(kept)
        return made

    def loss(self, state: Any) -> float:
        """Return the loss of a state (s,) over all data."""
        made = self.module(state)
        # Batch normalisation in training mode is part of the loss; its writes are lost with the copy.
        with torch.no_grad():
            return float(self.data.loss(self._loss, made, self.data.parts))

    # -- a step ------------------------------------------------------------------------------------------------------

    def _first(self) -> list[torch.Tensor]:
        """Return the data of the first step."""
        numbers = self.examples(np.zeros(1, int), 0)
        return self.data.take(self.data.parts, None if numbers is None else numbers[0])

    def _reached(self, module: torch.nn.Module, names: list[str]) -> list[str]:
        """Return the weights that the loss depends on; refuse a loss that bypasses the model."""
        device: str | torch.device = self.device
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError):
            device = "cpu"  # the workers' device is not here
        trial = copy.deepcopy(self._module).to(device)
        loss = copy.deepcopy(self._loss).to(device) if isinstance(self._loss, torch.nn.Module) else self._loss
        parts = [part.to(device) for part in self._first()]
        return reached(trial, module, lambda model: self.data.loss(loss, model, parts), names, self.statistics)

    def _try(self) -> None:
        """Compute one step of two states, so that an unsupported module or loss is reported at once."""
        states = np.stack((self.w0, self.w0))
        try:
            block = self.to_block(states)
        except PropagatorError:
            # The workers' device is not here.
            block = torch.from_numpy(states)
        try:
            self(block, np.zeros(2, int), 0)
        except (PropagatorError, ValueError):
            raise
        except Exception as error:
            raise explain(error) from error

    def _adds_statistics(self) -> bool:
        """Whether a step adds to running statistics only once, so that the addition does not depend on them.

        A loss may read them, and a module may be called several times.
        """
        states = torch.from_numpy(np.stack((self.w0, self.w0)))
        kept = states[:, self.w0.size - self._kept.size :]
        kept[0], kept[1] = 0, kept[1] + 1
        try:
            # Each by itself, so that both go through the same kernels.
            zero, other = (self._found(states[i : i + 1], np.zeros(1, int), 0) for i in (0, 1))
        except Exception:
            return False  # the trial of a step says why
        size, before = self.layout.size, self._kept.split(kept[1:])
        added, after = self._kept.split(zero[:, size:]), self._kept.split(other[:, size:])
        return torch.equal(zero[:, :size], other[:, :size]) and all(
            torch.allclose(after[name], added[name] + (1 - momentum) * before[name], rtol=1e-4, atol=1e-6)
            for name, momentum in self.statistics.items()
        )

    def _here(self, device: torch.device) -> Any:
        """Return this thread's gradient and data on a device: a module serves one thread at a time."""
        if getattr(self._local, "device", None) != device:
            module = copy.deepcopy(self._module).to(device).requires_grad_(False)
            tensors: Mapping[str, torch.Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            constants = {n: t for n, t in tensors.items() if n not in self.layout.shapes and n not in self.statistics}
            loss = copy.deepcopy(self._loss).to(device) if isinstance(self._loss, torch.nn.Module) else self._loss
            self._local.gradient = gradient_of(module, partial(self.data.loss, loss), constants)
            self._local.parts = [part.to(device) for part in self.data.parts]
            self._local.device = device
        return self._local

    def __call__(self, weights: Any, index: np.ndarray, level: int) -> Any:
        """Return the states after one step of the level."""
        if isinstance(weights, np.ndarray):
            return self(self.to_block(weights), index, level).cpu().numpy()
        if self.long is not None and level:
            gradient = partial(self.descent, index=index, level=level)
            return self.long(gradient, weights, self.length(level), level, index)
        return self.updates(weights, self._found(weights, index, level), index, level)

    @property
    def plain_rate(self) -> float | None:
        """The learning rate if a step is gradient descent at one rate, and the weights are the state; else None."""
        plain = not self.rule.moments and not self.statistics and self.updates.schedule.factor is None
        return self.rule.rate if plain else None

    def at_rate(self, weights: Any, index: np.ndarray, level: int, rate: float) -> Any:
        """Return the states after a plain step at another rate, with the data of `level`."""
        if isinstance(weights, np.ndarray):
            return self.at_rate(self.to_block(weights), index, level, rate).cpu().numpy()
        return weights - rate * self.descent(weights, index, level)

    def descent(self, weights: Any, index: np.ndarray, level: int) -> Any:
        """Return the gradient that plain descent follows, with the data of `level`."""
        if isinstance(weights, np.ndarray):
            return self.descent(self.to_block(weights), index, level).cpu().numpy()
        found = self._found(weights, index, level)
        return found + self.rule.decay * weights if self.rule.decay else found

    @property
    def gradient(self) -> Callable[[Any, np.ndarray], Any] | None:
        """The costly part of a fine step, as ``gradient(weights, index)``; None if it is not separable.

        See :class:`daskmgrit.recurrence.split_propagator.SplitPropagator`. Besides the loss gradient it holds the
        additions of batch normalisation to running statistics. On the CPU a row has the same bits as by itself.
        """
        return self._gradient if self._apart else None

    @property
    def advance(self) -> Callable[[Any, Any, np.ndarray], Any] | None:
        """The optimizer's own update, as ``advance(state, gradient, index)``; None if it is not separable."""
        return self._advance if self._apart else None

    @property
    def advance_along(self) -> Callable[[Any, Any, np.ndarray], Any] | None:
        """The update over the gradients of successive steps, as ``advance_along(state, gradients, index)``."""
        return self.updates.along if self._apart else None

    def _gradient(self, weights: Any, index: np.ndarray) -> Any:
        if isinstance(weights, np.ndarray):
            return self._gradient(self.to_block(weights), index).cpu().numpy()
        if weights.device.type != "cpu":
            # One call is what a device gains by.
            return self._found(weights, index, 0)
        return self._rows(lambda rows, steps: self._found(rows, steps, 0), weights, index)

    def _advance(self, state: Any, gradient: Any, index: np.ndarray) -> Any:
        return self.updates(state, gradient, index, 0)

    def _found(self, weights: torch.Tensor, index: np.ndarray, level: int) -> torch.Tensor:
        """Return loss gradients and then the additions to running statistics, shape (k, g)."""
        here = self._here(weights.device)
        numbers = self.examples(index, level)
        parts = self.data.take(here.parts, numbers)
        rows = [weights[:, : self.layout.size], weights[:, weights.shape[1] - self._kept.size :]]

        def found(own: torch.Tensor, kept: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
            dims = (0, 0, *(None if numbers is None else 0 for _ in parts))
            batched = torch.func.vmap(here.gradient, in_dims=dims, chunk_size=self.chunk_size)
            statistics = self._kept.split(torch.zeros_like(kept) if self._apart else kept)
            gradients, after = batched(self.layout.split(own), statistics, *parts)
            gradient = self.layout.join(gradients)
            return torch.cat([gradient, self._kept.join(after)], dim=1) if self.statistics else gradient

        moving, fixed = (rows, parts) if numbers is None else ([*rows, *parts], [])
        if self.chunk_size is not None and len(weights) > self.chunk_size:
            return found(*moving, *fixed)
        return self._graphs(found, moving, fixed, "gradient")
