"""Solver 4 for your own loop: stable coarse steps that see a window of the data, with an estimated largest rate."""

import numpy as np
from sklearn.datasets import load_breast_cancer

import daskmgrit as dm
from daskmgrit.coarse import stabilise, window_steps
from daskmgrit.tune import Settings, rated, tune

STEPS, BATCH, RATE, WINDOW = 2048, 16, 0.1, 64
data = load_breast_cancer()
X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
Y = data.target.astype(float)
BATCHES = len(X) // BATCH


def descend(weights, index, level, rate):
    """One step of logistic regression at a rate; a coarse step sees the batches of the fine steps it stands for."""
    batch = window_steps(index, level, size=WINDOW) % BATCHES
    rows = (batch[:, :, None] * BATCH + np.arange(BATCH)).reshape(len(index), -1)
    x = X[rows]
    error = 1 / (1 + np.exp(-np.einsum("kbn,kn->kb", x, weights))) - Y[rows]
    return weights - rate * np.einsum("kbn,kb->kn", x, error) / rows.shape[1]


def capped(weights, index, level):
    """The paper's coarse step: one batch, a rate that grows up to a cap."""
    rows = (index % BATCHES)[:, None] * BATCH + np.arange(BATCH)
    x = X[rows]
    error = 1 / (1 + np.exp(-np.einsum("kbn,kn->kb", x, weights))) - Y[rows]
    return weights - min(RATE * 2**level, 0.4) * np.einsum("kbn,kb->kn", x, error) / BATCH


def main():
    w0 = np.zeros(X.shape[1])
    estimate = dm.estimate_max_rate(descend, w0, RATE, level=6)
    print(estimate)
    serial = dm.train_serially(capped, w0, STEPS)[-1]
    for phi in (capped, stabilise(descend, RATE, estimate.max_rate)):
        solver = dm.MGRIT(phi, STEPS)
        print(solver)
        result = solver.solve(w0, initial_guess="constant")
        print(result)
        print(f"difference from serial training {np.abs(result.final - serial).max():.1e}\n")
    grid = {"max_stages": (None, 2, 4), "relaxation": (("FCF",), ("FCF", "F"))}
    print(tune(rated(descend, RATE), w0, STEPS, Settings(estimate.max_rate), grid, prefix=512))


if __name__ == "__main__":
    main()
