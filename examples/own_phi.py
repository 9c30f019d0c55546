"""Your own training loop as a Phi: logistic regression on real data, once for a state at a time, once batched."""

import numpy as np
from sklearn.datasets import load_breast_cancer

import daskmgrit as dm

STEPS, BATCH, RATE, MOST = 256, 32, 0.02, 0.16
data = load_breast_cancer()
X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
Y = data.target.astype(float)
BATCHES = len(X) // BATCH


def single(w, i, level):
    """The loop body that you have: one state, one step."""
    rows = slice(i % BATCHES * BATCH, (i % BATCHES + 1) * BATCH)
    error = 1 / (1 + np.exp(-X[rows] @ w)) - Y[rows]
    return w - min(RATE * 2**level, MOST) * X[rows].T @ error / BATCH


def batched(weights, index, level):
    """The same for k states at once: far fewer Python calls."""
    rows = (index % BATCHES)[:, None] * BATCH + np.arange(BATCH)
    x = X[rows]
    error = 1 / (1 + np.exp(-np.einsum("kbn,kn->kb", x, weights))) - Y[rows]
    return weights - min(RATE * 2**level, MOST) * np.einsum("kbn,kb->kn", x, error) / BATCH


def main():
    w0 = np.zeros(X.shape[1])
    serial = dm.train_serially(batched, w0, STEPS)[-1]
    for phi in (dm.vectorize(single), batched):
        print(dm.check_propagator(phi, w0))
        result = dm.MGRIT(phi, STEPS).solve(w0, initial_guess="constant")
        accuracy = ((X @ result.final > 0) == (Y > 0.5)).mean()
        print(result)
        print(f"accuracy {accuracy:.3f}, difference from serial training {np.abs(result.final - serial).max():.1e}\n")


if __name__ == "__main__":
    main()
