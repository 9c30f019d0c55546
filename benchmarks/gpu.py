"""``python -m benchmarks.gpu``: PyTorch and JAX loops, MGRIT and parallel Newton, one after the other on one device.

The launches bound a serial loop of small steps; a block of states takes no more launches than a single state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click
import dask
import numpy as np
import torch
from sklearn.datasets import load_digits

import daskmgrit as dm
import daskmgrit.torch
from benchmarks import newton_nets
from benchmarks.training import flat, training_of

loss = torch.nn.functional.cross_entropy


def network(width: int, dtype: torch.dtype) -> torch.nn.Module:
    """A network for the digits."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.Tanh(), torch.nn.Linear(width, 10)).to(dtype)


def seconds_of(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """Return the result of some work, and the seconds until the device has done it."""
    clock = time.perf_counter()
    value = work()
    if device != "cpu":
        torch.cuda.synchronize()
    return value, time.perf_counter() - clock


def measure(
    device: str, steps: int, width: int, examples: int, cycle: str, coarsening: int, rtol: float
) -> dict[str, Any]:
    """Return the seconds of both, and the difference of their weights."""
    rate = 1e-3
    net, value, phi = propagator_of("digits", width, examples, rate, device, coarsening=coarsening)
    training = training_of(phi, net, value, rate, steps, device)
    solver = dm.MGRIT(phi, steps, coarsening=coarsening, cycle=cycle)

    def solve(**how: Any) -> dm.Result:
        # One device, so one chunk and one thread.
        with dask.config.set(scheduler="synchronous"):
            return solver.solve(phi.w0, "constant", chunks=1, **how)

    # Kernels are loaded.
    training.loop(training.make())
    solve(maxiter=1)
    module, serial_seconds = seconds_of(lambda: training.loop(training.make()), device)
    result, seconds = seconds_of(solve, device)
    early, early_seconds = seconds_of(lambda: solve(settled=dm.Settled(phi.loss, rtol)), device)
    expected = flat(module)
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


def scanned(width: int, images: np.ndarray, labels: np.ndarray, steps: int, device: str) -> Callable[[], Any] | None:
    """Return the same training as one compiled loop of JAX, ``lax.scan``; None without JAX there."""
    try:
        import jax
        import optax

        place = jax.devices("gpu" if device != "cpu" else "cpu")[0]
    except (ImportError, RuntimeError):
        return None
    jax.config.update("jax_enable_x64", True)
    parts = [p.detach().numpy() for p in network(width, torch.float64).parameters()]
    start, x, y = jax.device_put((parts, images, labels), place)
    optimizer = optax.adam(1e-3)

    def cost(params: Any) -> Any:
        hidden = jax.numpy.tanh(x @ params[0].T + params[1])
        return optax.softmax_cross_entropy_with_integer_labels(hidden @ params[2].T + params[3], y).mean()

    def step(now: Any, _: Any) -> Any:
        updates, state = optimizer.update(jax.grad(cost)(now[0]), now[1], now[0])
        return (optax.apply_updates(now[0], updates), state), None

    train = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0])
    jax.block_until_ready(train(start))
    return lambda: jax.block_until_ready(train(start))


def propagator_of(
    net: str, width: int, examples: int, rate: float, device: str, **options: Any
) -> tuple[Any, Any, Any]:
    """Return a net, its loss and the propagator of Adam on it, in double precision; `options` are the adapter's."""
    torch.manual_seed(0)
    if net == "digits":
        images, labels = load_digits(return_X_y=True)
        module, value, batch = network(width, torch.float64), loss, None
        data = images[:examples] / 16, labels[:examples]
    else:
        module, value, data, batch = newton_nets.MAKE[net]()
        module = module.double()
    make = partial(torch.optim.Adam, lr=rate)
    return module, value, daskmgrit.torch.propagator(module, value, make, data, batch=batch, device=device, **options)


def measure_newton(
    device: str,
    steps: int,
    width: int,
    examples: int,
    windows: Sequence[int],
    tol: float,
    net: str = "digits",
    rate: float = 1e-3,
) -> dict[str, Any]:
    """Return the seconds to the serial result: of loops, and of parallel Newton with each window in one batched call.

    Parameters
    ----------
    device : str
        "cuda" or "cpu".
    steps, width, examples : int
        N; hidden nodes and examples of a step of the digits' net.
    windows : sequence of int
        Slots.
    tol : float
        Tolerance on the residual per step, on average.
    net : str
        "digits", or one of ``newton_nets.NETS``.
    rate : float
        Adam's.
    """
    module, value, phi = propagator_of(net, width, examples, rate, device)
    training = training_of(phi, module, value, rate, steps, device)

    def solve(window: int) -> dm.Result:
        with dask.config.set(scheduler="synchronous"):
            return dm.ParallelNewton(phi, steps, window=window).solve(phi.w0, tol=tol * steps**0.5)

    training.loop(training.make())  # kernels are loaded
    trained, eager = seconds_of(lambda: training.loop(training.make()), device)
    expected = flat(trained)
    loops: dict[str, Callable[[], Any] | None] = {"compiled": training.compiled(), "captured": training.captured()}
    if net == "digits":
        images, labels = (part.numpy() for part in phi.data.parts)
        loops["scan"] = scanned(width, images, labels, steps, device)
    others: dict[str, float | None] = {}
    for name, loop in loops.items():
        found, others[f"{name}_seconds"] = (None, None) if loop is None else seconds_of(loop, device)
        if isinstance(found, torch.nn.Module):
            others[f"{name}_error"] = float(np.abs(flat(found) - expected).max())
    rows = []
    for window in windows:
        # The first solve records the kernels of a sweep.
        (_, first), (result, seconds) = (seconds_of(partial(solve, window), device) for _ in range(2))
        rows.append(
            {
                "window": window,
                "sweeps": result.iterations,
                "accepted": steps / result.iterations,
                "first_seconds": first,
                "seconds": seconds,
                "speedup": eager / seconds,
                "max_error": float(np.abs(flat(phi.module(result.final)) - expected).max()),
            }
        )
    return {"net": net, "weights": phi.layout.size, "steps": steps, "eager_seconds": eager, **others, "newton": rows}


@click.command()
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--steps", type=click.IntRange(20), default=2048, show_default=True)
@click.option("--width", type=click.IntRange(1), default=16, show_default=True, help="Hidden nodes.")
@click.option("--examples", type=click.IntRange(10, 1797), default=512, show_default=True)
@click.option("--cycle", type=click.Choice(["V", "F"]), default="F", show_default=True)
@click.option("--coarsening", type=click.IntRange(2), default=4, show_default=True)
@click.option("--rtol", default=1e-3, show_default=True, help="Relative loss change that counts as unchanged.")
@click.option(
    "--net", "nets", multiple=True, type=click.Choice(["digits", *newton_nets.NETS]), help="For parallel Newton."
)
@click.option(
    "--window", "windows", multiple=True, type=click.IntRange(1), default=(16,), help="Slots of parallel Newton."
)
@click.option("--tol", default=1e-6, show_default=True, help="Parallel Newton's residual per step.")
@click.option("--mgrit/--no-mgrit", default=True, show_default=True, help="Whether MGRIT is measured, too.")
def main(nets: tuple[str, ...], windows: tuple[int, ...], tol: float, mgrit: bool, **given: Any) -> None:
    """Train nets by full-batch Adam: serially, by MGRIT and by parallel Newton; print a JSON object for each."""
    if given["device"] == "cpu":
        click.echo("no GPU is used: these times are the CPU's", err=True)
    sizes = {name: given[name] for name in ("device", "steps", "width", "examples")}
    if mgrit:
        click.echo(json.dumps(measure(**given)))
    for net in nets or ("digits",):
        click.echo(json.dumps(measure_newton(**sizes, windows=windows, tol=tol, net=net)))


if __name__ == "__main__":
    main()
