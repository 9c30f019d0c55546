"""A PyTorch training loop as a propagator: handwritten digits, AdamW, a decreasing learning rate."""

import numpy as np
import torch
from sklearn.datasets import load_digits

import daskmgrit as dm
import daskmgrit.torch

STEPS, BATCH = 192, 256
torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
X, Y = torch.tensor(images[order] / 16), torch.tensor(labels[order])
TRAIN, TEST = slice(0, 4 * BATCH), slice(4 * BATCH, None)
cross_entropy = torch.nn.functional.cross_entropy


def factor(step):
    return 0.99**step


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10)).double()


def optimizer_of(parameters):
    return torch.optim.AdamW(parameters, lr=2e-3)


def serial():
    """The original loop."""
    module = network()
    optimizer = optimizer_of(module.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for step in range(STEPS):
        rows = slice(step % 4 * BATCH, (step % 4 + 1) * BATCH)
        optimizer.zero_grad()
        cross_entropy(module(X[TRAIN][rows]), Y[TRAIN][rows]).backward()
        optimizer.step()
        schedule.step()
    return module


def accuracy(module):
    return (module(X[TEST]).argmax(dim=1) == Y[TEST]).double().mean().item()


def main():
    # The same loop as a propagator.
    phi = daskmgrit.torch.propagator(
        network(), cross_entropy, optimizer_of, (X[TRAIN], Y[TRAIN]), batch=BATCH, schedule=factor
    )
    dm.check_propagator(phi, phi.w0)
    solver = dm.MGRIT(phi, STEPS, cycle="F")

    result = solver.solve(phi.w0, initial_guess="constant")
    print(result)
    trained, expected = phi.module(result.final), serial()
    difference = max(
        (a - b).abs().max().item() for a, b in zip(trained.parameters(), expected.parameters(), strict=True)
    )
    print(f"difference from serial training {difference:.1e}")
    print(f"accuracy on digits not seen {accuracy(trained):.3f}, serially {accuracy(expected):.3f}\n")

    # Training may stop earlier: when the loss of the trained weights has settled to three digits.
    early = solver.solve(phi.w0, initial_guess="constant", settled=dm.Settled(phi.loss, rtol=1e-3))
    print(early)
    print(f"accuracy on digits not seen {accuracy(phi.module(early.final)):.3f}")


if __name__ == "__main__":
    main()
