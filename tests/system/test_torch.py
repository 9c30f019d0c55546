"""PyTorch that is missing, a device, and its benchmark."""

import subprocess
import sys

import pytest
from sklearn.datasets import load_digits

import daskmgrit as dm

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'daskmgrit[torch]'")

import daskmgrit.torch  # noqa: E402

nn, optim, cross_entropy = torch.nn, torch.optim, torch.nn.functional.cross_entropy
IMAGES, LABELS = load_digits(return_X_y=True)
X, Y = torch.tensor(IMAGES[:128] / 16), torch.tensor(LABELS[:128])
STEPS, BATCH = 32, 32


def network(*parts, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 6), *parts, nn.Tanh(), nn.Linear(6, 10)).to(dtype)


def loop(module, optimizer, steps, batch=BATCH, factor=None, first=0):
    """The loop that a user has."""
    rate = optimizer.param_groups[0]["lr"]
    for i in range(first, first + steps):
        if factor is not None:
            optimizer.param_groups[0]["lr"] = rate * factor(i)
        rows = (
            slice(None) if batch is None else slice(i % (len(X) // batch) * batch, (i % (len(X) // batch) + 1) * batch)
        )
        dtype = next(module.parameters()).dtype
        optimizer.zero_grad()
        cross_entropy(module(X[rows].to(dtype)), Y[rows]).backward()
        optimizer.step()
    return module


def assert_same(one, other, tolerance=1e-6):
    for name, tensor in one.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=tolerance, atol=tolerance)


OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.05, weight_decay=1e-3),
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.005, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda parameters: optim.SGD(parameters, lr=0.005, momentum=0.9, nesterov=True),
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3, weight_decay=1e-3),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=1e-3, weight_decay=0.1),
}


# -- what is refused -----------------------------------------------------------------------------------------------


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_cuda_device():
    make = OPTIMIZERS["adam"]
    phi = daskmgrit.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, cap=8, device="cuda")
    assert phi.to_block(phi.w0).is_cuda
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=2)
    module = network()
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))


def test_without_torch():
    code = "import sys; sys.modules['torch'] = None\nimport daskmgrit.torch"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert "pip install 'daskmgrit[torch]'" in out.stderr


def test_the_benchmark_of_a_device():
    gpu = pytest.importorskip("benchmarks.gpu")
    found = gpu.measure("cpu", 40, 2, 20, "V", 2, 1e-3)
    assert found["reason"] == "tol"
    assert found["max_error"] < 1e-6
    assert found["settled_iterations"] <= found["iterations"]
