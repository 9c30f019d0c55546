"""Time of a call of the PyTorch and JAX propagators, against the framework's own step and a net batched by hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["BLOCKS", "frameworks"]

# States of a call.
BLOCKS = (1, 16, 256)


def frameworks(repeats: int = 5, seconds: float = 0.05, note: Callable[[str], Any] = print) -> list[dict[str, Any]]:
    """Time XOR's and the digits' net by gradient descent, on one thread.

    Parameters
    ----------
    repeats : int
        Number of measurements; their median is returned.
    seconds : float
        Minimum processor time of a measurement.
    note : callable
        Called with progress messages.

    Returns
    -------
    list of dict
        Microseconds of processor time: of the framework's own step, and for each number of states of a call and, in
        PyTorch, of the same steps batched by hand.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for net in ("xor", "digits"):
            for make in (_torch, _jax):
                name = make.__name__[1:]
                note(f"{net}, {name}")
                work = make(net)
                times = {key: _microseconds(call, repeats, seconds) for key, call in work.items()}
                rows.append({"net": net, "framework": name} | times)
        return rows
    finally:
        torch.set_num_threads(before)


def _microseconds(call: Callable[[], Any], repeats: int, seconds: float) -> float:
    # A hundred calls: kernels that come often are recorded by then.
    for _ in range(100):
        call()
    found = []
    for _ in range(repeats):
        count, clock = 0, time.process_time()
        while (taken := time.process_time() - clock) < seconds:
            call()
            count += 1
        found.append(1e6 * taken / count)
    return statistics.median(found)


def _data(net: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return inputs, targets and the widths of a net."""
    if net == "xor":
        inputs = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        return inputs, np.array([[0.0], [1], [1], [0]]), [3, 4, 1]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images[:128] / 16, np.eye(10)[labels[:128]], [64, 16, 10]


def _torch(net: str) -> dict[str, Callable[[], Any]]:
    import torch

    import daskmgrit.torch

    inputs, targets, (first, hidden, last) = _data(net)
    x, y = torch.tensor(inputs), torch.tensor(targets)
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(first, hidden), torch.nn.Sigmoid(), torch.nn.Linear(hidden, last), torch.nn.Sigmoid()
    ).double()
    loss, rate = torch.nn.functional.mse_loss, 0.1
    phi = daskmgrit.torch.propagator(module, loss, lambda weights: torch.optim.SGD(weights, lr=rate), (x, y))
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)

    def step() -> None:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()

    work: dict[str, Callable[[], Any]] = {"step": step}
    for count in BLOCKS:
        block, index = phi.to_block(_states(phi.w0, count)), np.zeros(count, int)
        work[f"call_{count}"] = lambda block=block, index=index: phi(block, index, 0)
        work[f"hand_{count}"] = lambda block=block: _by_hand(block, x, y, (first, hidden, last), rate)
    difference = _by_hand(block, x, y, (first, hidden, last), rate) - phi(block, index, 0)
    assert float(difference.abs().max()) < 1e-12
    return work


def _by_hand(block: Any, x: Any, y: Any, widths: tuple[int, int, int], rate: float) -> Any:
    """Take a step of each state of a net of two layers with everything batched in PyTorch, as an expert would."""
    import torch

    with torch.no_grad():
        first, hidden, last = widths
        a, b, c, d = torch.split(block, [first * hidden, hidden, hidden * last, last], dim=1)
        a, c = a.reshape(-1, hidden, first), c.reshape(-1, last, hidden)
        inner = torch.sigmoid(torch.matmul(x, a.transpose(1, 2)) + b[:, None])
        outer = torch.sigmoid(torch.baddbmm(d[:, None], inner, c.transpose(1, 2)))
        back = 2 / y.numel() * (outer - y) * outer * (1 - outer)
        through = torch.bmm(back, c) * inner * (1 - inner)
        parts = (
            torch.matmul(through.transpose(1, 2), x).reshape(len(block), -1),
            through.sum(1),
            torch.bmm(back.transpose(1, 2), inner).reshape(len(block), -1),
            back.sum(1),
        )
        return block - rate * torch.cat(parts, dim=1)


def _jax(net: str) -> dict[str, Callable[[], Any]]:
    import jax
    import jax.numpy as jnp
    import optax

    import daskmgrit.jax

    jax.config.update("jax_enable_x64", True)
    inputs, targets, (first, hidden, last) = _data(net)
    rng = np.random.default_rng(0)
    params = [rng.normal(size=(first, hidden)), np.zeros(hidden), rng.normal(size=(hidden, last)), np.zeros(last)]

    def loss(params: Any, x: Any, y: Any) -> Any:
        a, b, c, d = params
        return ((jax.nn.sigmoid(jax.nn.sigmoid(x @ a + b) @ c + d) - y) ** 2).mean()

    optimizer = optax.sgd(0.1)
    phi = daskmgrit.jax.propagator(loss, params, optimizer, (inputs, targets))

    @jax.jit
    def one(params: Any, state: Any, x: Any, y: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    start = jax.tree.map(jnp.asarray, (params, optimizer.init(params), inputs, targets))
    work: dict[str, Callable[[], Any]] = {"step": lambda: jax.block_until_ready(one(*start))}
    for count in BLOCKS:
        block, index = phi.to_block(_states(phi.w0, count)), np.zeros(count, int)
        work[f"call_{count}"] = lambda block=block, index=index: jax.block_until_ready(phi(block, index, 0))
    return work


def _states(w0: np.ndarray, count: int) -> np.ndarray:
    return w0 + 0.01 * np.random.default_rng(0).normal(size=(count, w0.size))
