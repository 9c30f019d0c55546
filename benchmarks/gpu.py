"""``python -m benchmarks.gpu``: a PyTorch loop and MGRIT, one after the other on the same device.

A serial loop of small steps is bound by the time that it takes to launch them; a block of states takes no more launches
than one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click
import dask
import numpy as np
import torch
from sklearn.datasets import load_digits

import daskmgrit as dm
import daskmgrit.torch

loss = torch.nn.functional.cross_entropy


def network(width: int, dtype: torch.dtype) -> torch.nn.Module:
    """A network for the digits."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.Tanh(), torch.nn.Linear(width, 10)).to(dtype)


def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
    """Adam, all examples in every step."""
    return torch.optim.Adam(parameters, lr=1e-3)


def seconds_of(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """Return what some work gives, and the seconds until the device has done it."""
    clock = time.perf_counter()
    value = work()
    if device != "cpu":
        torch.cuda.synchronize()
    return value, time.perf_counter() - clock


def serial(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> torch.nn.Module:
    """The loop that a user has."""
    optimizer = optimizer_of(module.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()
    return module


def measure(
    device: str, steps: int, width: int, examples: int, cycle: str, coarsening: int, rtol: float
) -> dict[str, Any]:
    """Return the seconds of both, and how far apart their weights are."""
    dtype = torch.float64
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images[:examples] / 16, dtype=dtype), torch.tensor(labels[:examples])
    phi = daskmgrit.torch.propagator(
        network(width, dtype), loss, optimizer_of, (x, y), coarsening=coarsening, device=device
    )
    solver = dm.MGRIT(phi, steps, coarsening=coarsening, cycle=cycle)
    there = x.to(device), y.to(device)

    def loop(count: int) -> torch.nn.Module:
        return serial(network(width, dtype).to(device), *there, count)

    def solve(**how: Any) -> dm.Result:
        # One device, so one chunk and one thread.
        with dask.config.set(scheduler="synchronous"):
            return solver.solve(phi.w0, "constant", chunks=1, **how)

    loop(10)
    solve(maxiter=1)
    module, serial_seconds = seconds_of(lambda: loop(steps), device)
    result, seconds = seconds_of(solve, device)
    early, early_seconds = seconds_of(lambda: solve(settled=dm.Settled(phi.loss, rtol)), device)
    expected = np.concatenate([p.detach().cpu().numpy().ravel() for p in module.parameters()])
    weights = phi.layout.size
    return {
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "steps": steps,
        "weights": weights,
        "levels": result.levels,
        "cycle": cycle,
        "serial_seconds": serial_seconds,
        "mgrit_seconds": seconds,
        "speedup": serial_seconds / seconds,
        "iterations": result.iterations,
        "reason": result.reason,
        "max_error": float(np.abs(result.final[:weights] - expected).max()),
        "settled_seconds": early_seconds,
        "settled_iterations": early.iterations,
        "settled_speedup": serial_seconds / early_seconds,
        "settled_max_error": float(np.abs(early.final[:weights] - expected).max()),
    }


@click.command()
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--steps", type=click.IntRange(20), default=2048, show_default=True)
@click.option("--width", type=click.IntRange(1), default=16, show_default=True, help="Hidden nodes.")
@click.option("--examples", type=click.IntRange(10, 1797), default=512, show_default=True)
@click.option("--cycle", type=click.Choice(["V", "F"]), default="F", show_default=True)
@click.option("--coarsening", type=click.IntRange(2), default=4, show_default=True)
@click.option("--rtol", default=1e-3, show_default=True, help="Relative change of the loss that counts as none.")
def main(**given: Any) -> None:
    """Train on handwritten digits by full-batch Adam, serially and by MGRIT, and print one JSON object."""
    click.echo(json.dumps(measure(**given)))


if __name__ == "__main__":
    main()
