"""A usual training run in PyTorch: the loop that solvers are compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Training", "flat", "training_of"]


@dataclass
class Training:
    """A usual training run: a net on a device, its loss, the data of each step, Adam.

    Attributes
    ----------
    make : callable
        Returns the net with its initial weights.
    value : callable
        The loss, of net and data.
    parts : list of Tensor
        All data, on the device.
    numbers : list of Tensor or None
        The examples of each step; None for all.
    rate : float
        Learning rate.
    steps : int
        N.
    """

    make: Callable[[], torch.nn.Module]
    value: Callable[[torch.nn.Module, list[torch.Tensor]], torch.Tensor]
    parts: list[torch.Tensor]
    numbers: list[torch.Tensor] | None
    rate: float
    steps: int

    def data(self, step: int) -> list[torch.Tensor]:
        """Return the examples of a step."""
        return self.parts if self.numbers is None else [part[self.numbers[step]] for part in self.parts]

    def loop(self, module: torch.nn.Module, run: Callable[..., Any] | None = None) -> torch.nn.Module:
        """Train a net by PyTorch's own loop; its loss may be computed through another callable."""
        optimizer = torch.optim.Adam(module.parameters(), lr=self.rate)
        for step in range(self.steps):
            optimizer.zero_grad()
            self.value(module if run is None else run, self.data(step)).backward()
            optimizer.step()
        return module

    def compiled(self) -> Callable[[], torch.nn.Module] | None:
        """Return the loop with its net through torch.compile, compiled already; None where torch.compile fails."""
        module = self.make()
        try:
            run = torch.compile(module)
            self.value(run, self.data(0)).backward()
        except Exception:  # without a compiler, or a Python that it knows
            return None
        return lambda: self.loop(module, run)

    def captured(self) -> Callable[[], torch.nn.Module] | None:
        """Return the loop with each step as one launch, a CUDA graph; None without CUDA, or where capturing fails."""
        module = self.make()
        if not next(module.parameters()).is_cuda:
            return None
        weights = list(module.parameters())
        start, buffers = [p.detach().clone() for p in weights], [part.clone() for part in self.data(0)]
        optimizer = torch.optim.Adam(weights, lr=self.rate, capturable=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            self.value(module, buffers).backward()
            optimizer.step()

        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                step()
        except Exception:  # a net may do what can't be captured
            return None
        with torch.no_grad():
            for weight, value in zip(weights, start, strict=True):
                weight.copy_(value)
            for moment in (m for state in optimizer.state.values() for m in state.values()):
                moment.zero_()

        def train() -> torch.nn.Module:
            for number in range(self.steps):
                if self.numbers is not None:
                    for buffer, part in zip(buffers, self.data(number), strict=True):
                        buffer.copy_(part)
                graph.replay()
            return module

        return train


def flat(module: torch.nn.Module) -> np.ndarray:
    """Return the weights of a net as one vector."""
    return np.concatenate([p.detach().cpu().numpy().ravel() for p in module.parameters()])


def training_of(phi: Any, module: torch.nn.Module, loss: Any, rate: float, steps: int, device: str = "cpu") -> Training:
    """Return the training whose propagator is `phi`, by Adam."""
    numbers = phi.examples(np.arange(steps), 0)
    return Training(
        lambda: copy.deepcopy(module).to(device),
        lambda model, parts: phi.data.loss(loss, model, parts),
        [part.to(device) for part in phi.data.parts],
        None if numbers is None else list(torch.as_tensor(numbers, device=device)),
        rate,
        steps,
    )
