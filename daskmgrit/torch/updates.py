"""The updates of states by an optimizer and batch normalisation, step after step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.torch.kernel_graphs import KernelGraphs
from daskmgrit.torch.modules import ParameterMap
from daskmgrit.torch.optimizers import Rule, Schedule

__all__ = ["Updates"]

# Successive updates on a GPU are launched in multiples of as many.
_STEPS = 8


@dataclass
class Updates:
    """The cheap part of a step.

    Attributes
    ----------
    rule : Rule
        The optimizer.
    schedule : Schedule
        Factors of its rate.
    length : StepLength
        Fine steps of a step on each level.
    clock : int
        Updates that the optimizer had made at step 0.
    layout, kept : ParameterMap
        Weights and running statistics.
    statistics : dict
        The momentum of each running statistic.
    apart : bool
        Whether the evaluation holds a step's additions to running statistics, not their new values.
    """

    rule: Rule
    schedule: Schedule
    length: StepLength
    clock: int
    layout: ParameterMap
    kept: ParameterMap
    statistics: dict[str, float]
    apart: bool
    _graphs: KernelGraphs = field(default_factory=KernelGraphs, repr=False)
    _constant: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_constant": {}}  # tensors on a device of this process

    def __call__(self, states: Any, found: Any, index: np.ndarray, level: int) -> Any:
        """Return the states (k, s) after one step of the level, from their evaluations (k, g); arrays give an array."""
        if isinstance(states, np.ndarray):
            return self(*_tensors(states, found), index, level).numpy()
        factors, shapes = self._factors(index, level, states)
        times = self.length.taken(level)

        def update(states: torch.Tensor, found: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
            return self._moved(states, found, _cut(factors, shapes), times)

        if states.device.type == "cpu":
            return update(states, found, factors)
        # On a device the launches of kernels are what takes time.
        return self._graphs(update, [states, found, factors], [], times)

    def along(self, state: Any, found: Any, index: np.ndarray) -> Any:
        """Return a state (1, s) and those after each of k successive fine steps, from their evaluations (k, g)."""
        if isinstance(state, np.ndarray):
            return self.along(*_tensors(state, found), index).numpy()
        count, host = len(index), state.device.type == "cpu"
        if not host:
            # With extra steps, which are not asked for, there are few shapes to record.
            more = -count % _STEPS
            found = torch.cat([found, found[-1:].expand(more, -1)])
            index = np.concatenate([index, index[-1] + np.arange(1, more + 1)])
        factors, shapes = self._factors(index, 0, state)

        def run(state: torch.Tensor, found: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
            parts, states = _cut(factors, shapes), [state]
            for j in range(len(found)):
                own = [part[..., j : j + 1, :] if part.shape[-2] > 1 else part for part in parts]
                states.append(self._moved(states[-1], found[j : j + 1], own, 1))
            return torch.cat(states)

        if host:
            return run(state, found, factors)
        return self._graphs(run, [state, found, factors], [], "along")[: count + 1]

    def _factors(self, index: np.ndarray, level: int, like: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
        """Return the optimizer's factors in one vector, for one copy to a device, and the shape of each."""
        times = self.length.taken(level)
        key = times, like.dtype, like.device
        if key in self._constant:
            return self._constant[key]
        first = index * self.length(level)
        factors = self.rule.factors(self.rule.rate * self.schedule(first, times), self.clock + first)
        together = np.concatenate([factor.ravel() for factor in factors])
        made = torch.as_tensor(together, dtype=like.dtype, device=like.device), [factor.shape for factor in factors]
        if self.schedule.factor is None and not self.rule.counts:
            self._constant[key] = made
        return made

    def _moved(
        self, states: torch.Tensor, found: torch.Tensor, factors: Sequence[torch.Tensor], times: int
    ) -> torch.Tensor:
        size = self.layout.size
        if states.shape[1] == size:
            # Plain descent: a slice takes as long as a small kernel.
            return self.rule.update(states, (), found, factors, times)[0].contiguous()
        moments = torch.split(states[:, size : size * (1 + self.rule.moments)], size, dim=1)[: self.rule.moments]
        new = [*self.rule.update(states[:, :size], moments, found[:, :size], factors, times)]
        if self.statistics:
            kept = self.kept.split(states[:, states.shape[1] - self.kept.size :])
            after = self.kept.split(found[:, size:])
            for name, momentum in self.statistics.items():
                then = after[name] + (1 - momentum) * kept[name] if self.apart else after[name]
                # Towards the batch's own, as far as `times` updates would go.
                share = (1 - (1 - momentum) ** times) / momentum if momentum else 0.0
                new.append((kept[name] + share * (then - kept[name])).reshape(len(states), -1))
        return torch.cat(new, dim=1)


def _tensors(states: np.ndarray, found: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.array(states)), torch.from_numpy(np.array(found))


def _cut(flat: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Return tensors of these shapes that lie one after another in a vector."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
