"""Counts of parallel Newton on realistic PyTorch nets: convolutional, physics-informed, a transformer.

Nothing here is timed. The steps accepted per sweep, N over sweeps, are the speedup with one worker per slot of the
window if gradients are the only cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size
from daskmgrit.recurrence.serial import train_serially
from daskmgrit.recurrence.split_propagator import advance_along

__all__ = ["NETS", "QUICK", "WHOLE", "Case", "newton_nets", "sweeps_by_corrections"]

NETS = ("convolutional", "physics-informed", "transformer")
WINDOWS = (4, 8, 16)
# Tolerance on the residual of a step, on average.
PER_STEP = 1e-6
# N over sweeps that is aimed at with windows of 4, 8 and 16 slots, by net and rate. Other nets of these kinds had it.
AIMS = {
    ("convolutional", 1e-3): (1.66, 2.27, 2.83),
    ("convolutional", 3e-3): (1.49, 2.04, 2.11),
    ("physics-informed", 1e-3): (1.52, 1.76, 1.61),
    ("transformer", 1e-3): (1.61, 2.07, 1.89),
    ("transformer", 3e-3): (1.18, 1.28, 1.30),
}
# Gray levels of the digits, and a token that a sequence begins with.
TOKENS = 18


@dataclass(frozen=True)
class Case:
    """A solve: net, optimizer, number of steps, window."""

    net: str
    optimizer: str
    rate: float
    window: int
    steps: int = 300
    seed: int = 0

    @property
    def aim(self) -> float | None:
        """Steps that a sweep should accept; None if they were not measured before."""
        aims = AIMS.get((self.net, self.rate)) if self.steps == 300 and self.optimizer == "adam" else None
        return aims[WINDOWS.index(self.window)] if aims and self.window in WINDOWS else None


QUICK = (Case("convolutional", "adam", 1e-3, 8, 60),)
WHOLE = tuple(
    Case(net, optimizer, rate, window, seed=seed)
    for net, optimizer, rate, seed in (
        ("convolutional", "adam", 1e-3, 0),
        ("convolutional", "adam", 3e-3, 0),
        ("physics-informed", "adam", 1e-3, 0),
        ("physics-informed", "adam", 1e-3, 1),
        ("transformer", "adam", 1e-3, 0),
        ("transformer", "adam", 3e-3, 0),
        ("transformer", "adamw, schedule", 1e-3, 0),
        ("transformer", "adamw, schedule", 3e-3, 0),
    )
    for window in WINDOWS
)


def warm_up(step: int, steps: int) -> float:
    """Return the factor of the rate: linear up to a tenth of the run, then half a cosine."""
    start = max(1, steps // 10)
    if step < start:
        return (step + 1) / start
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - start) / max(1, steps - start))))


def convolutional() -> tuple[Any, Any, Any, int | None]:
    """Return a convolutional network for the digits, its loss, its data and the examples of a step."""
    import torch
    from sklearn.datasets import load_digits

    nn = torch.nn
    images, labels = load_digits(return_X_y=True)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return module, nn.functional.cross_entropy, (images.reshape(-1, 1, 8, 8) / 16, labels), 64


def burgers(model: Any, data: Any) -> Any:
    """Return the loss of a network u(t, x) for ``u_t + u u_x = nu u_xx`` with u(0, x) = -sin(pi x), u(t, ±1) = 0."""
    import torch
    from torch.func import grad, vmap

    def u(t: Any, x: Any) -> Any:
        return model(torch.stack((t, x))[None]).squeeze()

    def residual(point: Any) -> Any:
        t, x = point[0], point[1]
        u_x = grad(u, 1)
        return grad(u, 0)(t, x) + u(t, x) * u_x(t, x) - 0.01 / math.pi * grad(u_x, 1)(t, x)

    edge = model(data["edge"]) - data["values"]
    return (vmap(residual)(data["points"]) ** 2).mean() + (edge**2).mean()


def physics_informed() -> tuple[Any, Any, Any, int | None]:
    """Return a network for Burgers' equation, its loss, its points, all of them in every step."""
    import torch

    nn = torch.nn
    module = nn.Sequential(
        nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1)
    )
    rng = np.random.default_rng(0)
    points = rng.uniform((0, -1), (1, 1), (200, 2))
    start = np.stack((np.zeros(40), rng.uniform(-1, 1, 40)), axis=1)
    sides = np.stack((rng.uniform(0, 1, 40), np.repeat((-1.0, 1.0), 20)), axis=1)
    values = np.concatenate((-np.sin(np.pi * start[:, 1:]), np.zeros((40, 1))))
    return module, burgers, {"points": points, "edge": np.concatenate((start, sides)), "values": values}, None


def transformer() -> tuple[Any, Any, Any, int | None]:
    """Return a transformer that predicts six rows of a digit pixel by pixel, its loss, its data, 16 images a step."""
    import torch
    from sklearn.datasets import load_digits

    nn, length, width, heads = torch.nn, 48, 32, 4

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            self.register_buffer("later", torch.triu(torch.ones(length, length, dtype=torch.bool), 1))

        def forward(self, x: Any) -> Any:
            parts = self.into(self.first(x)).unflatten(-1, (3, heads, width // heads)).movedim(-3, 0)
            query, key, value = (part.transpose(-2, -3) for part in parts)
            scores = (query @ key.transpose(-1, -2) * (width // heads) ** -0.5).masked_fill(self.later, -math.inf)
            x = x + self.out((scores.softmax(-1) @ value).transpose(-2, -3).flatten(-2))
            return x + self.dense(self.second(x))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(TOKENS, width), nn.Parameter(0.02 * torch.randn(length, width))
            self.body = nn.Sequential(Block(), nn.LayerNorm(width), nn.Linear(width, TOKENS))

        def forward(self, tokens: Any) -> Any:
            return self.body(self.token(tokens) + self.place).transpose(-1, -2)

    pixels = load_digits().data[:, :length].astype(np.int64)
    before = np.concatenate((np.full((len(pixels), 1), TOKENS - 1), pixels[:, :-1]), axis=1)
    return Transformer(), nn.functional.cross_entropy, (before, pixels), 16


MAKE: dict[str, Callable[[], tuple[Any, Any, Any, int | None]]] = dict(
    zip(NETS, (convolutional, physics_informed, transformer), strict=True)
)


def propagator_of(case: Case) -> Any:
    """Return the propagator of a case, in double precision."""
    import torch

    import daskmgrit.torch

    torch.manual_seed(case.seed)
    module, loss, data, batch = MAKE[case.net]()
    name, _, scheduled = case.optimizer.partition(", ")
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return daskmgrit.torch.propagator(
        module.double(),
        loss,
        partial(make, lr=case.rate),
        data,
        batch=batch,
        schedule=partial(warm_up, steps=case.steps) if scheduled else None,
    )


def sweeps_by_corrections(phi: Any, steps: int, slots: int, tol: float) -> int:
    """Count the sweeps of the plainest Picard iteration, which accepts states by the length of their corrections.

    A sweep accepts all states up to and including the first that it moves by more than the tolerance. So it needs no
    residual, but does not know one either.

    Parameters
    ----------
    phi : SplitPropagator
        The propagator, on NumPy arrays; its ``w0`` is the initial state.
    steps, slots : int
        N, and the slots of the window.
    tol : float
        2-norm up to which a correction of a state leaves it acceptable.
    """
    first = sweeps = 0
    window = np.repeat(phi.w0[None], slots + 1, axis=0)
    while first < steps:
        count = min(slots, steps - first)
        index = first + np.arange(count)
        moved = advance_along(phi, window[:1], phi.gradient(window[:count], index), index)
        far = np.linalg.norm(moved[1:] - window[1 : count + 1], axis=1) > tol
        accepted = 1 + int(far.argmax()) if far.any() else count
        window = np.concatenate((moved[accepted:], np.repeat(moved[-1:], slots - count + accepted, axis=0)))
        first, sweeps = first + accepted, sweeps + 1
    return sweeps


def newton_nets(cases: tuple[Case, ...] = QUICK, note: Callable[[str], Any] = print) -> list[dict[str, Any]]:
    """Train each net in this process by parallel Newton, and count.

    Parameters
    ----------
    cases : tuple of Case
        What to solve.
    note : callable
        Called with progress messages.

    Returns
    -------
    list of dict
        Sweeps, steps accepted by one, and work of each, with their targets and what the plainest Picard iteration
        accepts; and the error against serial training.
    """
    rows = []
    for case in cases:
        note(f"{case.net}, N = {case.steps}, {case.optimizer}, {case.rate:g}, window {case.window}, seed {case.seed}")
        phi, tol = propagator_of(case), PER_STEP * math.sqrt(case.steps)
        solved = solve_in_one_process(
            phi, phi.w0, NewtonSettings(case.steps, tol, size=choose_size(case.window, "identity"))
        )
        sweeps = len(solved.sweeps)
        rows.append(
            {
                "net": case.net,
                "weights": phi.layout.size,
                "optimizer": case.optimizer,
                "rate": case.rate,
                "seed": case.seed,
                "steps": case.steps,
                "window": case.window,
                "sweeps": sweeps,
                "accepted": case.steps / sweeps,
                "aim": case.aim,
                "by_corrections": case.steps / sweeps_by_corrections(phi, case.steps, case.window, PER_STEP),
                "work": solved.phi_evaluations / case.steps,
                "residual": solved.residual,
                "tol": tol,
                "error_estimate": solved.error,
                "error": float(np.linalg.norm(solved.final - train_serially(phi, phi.w0, case.steps)[-1])),
            }
        )
    return rows
