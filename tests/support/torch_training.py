"""A small network in PyTorch, its optimizers, and the loop that a user has."""

from tests.support.optional import need

torch = need("torch", "torch")
load_digits = need("sklearn.datasets", "digits").load_digits

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


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1)


def build(module=None, loss=cross_entropy, optimizer=sgd, data=(X, Y), **options):
    return daskmgrit.torch.propagator(network() if module is None else module, loss, optimizer, data, **options)
