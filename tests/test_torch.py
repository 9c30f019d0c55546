"""PyTorch modules as propagators, against torch.optim's own serial loop."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import daskmgrit as dm
from daskmgrit.models import Averaged, Serial

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


def decreasing(i):
    return 0.98**i


OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.05, weight_decay=1e-3),
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.005, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda parameters: optim.SGD(parameters, lr=0.005, momentum=0.9, nesterov=True),
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3, weight_decay=1e-3),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=1e-3, weight_decay=0.1),
}


# Without decay that is part of the gradient, which a coarse step holds with it.
COARSE = {
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.005, momentum=0.9),
    "nesterov": OPTIMIZERS["nesterov"],
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3),
    "adamw": OPTIMIZERS["adamw"],
}


@pytest.mark.parametrize("schedule", [None, decreasing], ids=["constant", "schedule"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_own_loop(name, schedule):
    make = OPTIMIZERS[name]
    phi = daskmgrit.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, schedule=schedule, cap=8)
    module = network()
    loop(module, make(module.parameters()), STEPS, factor=schedule)
    assert_same(phi.module(dm.train_serially(phi, phi.w0, STEPS)[-1]), module, 1e-12)
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=3)
    assert result.converged
    assert_same(phi.module(result.final), module)
    assert phi.loss(result.final) == pytest.approx(cross_entropy(module(X), Y).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["momentum", "adam", "adamw"])
@pytest.mark.usefixtures("synchronous")
def test_the_coarse_rule_converges(name):
    """In far fewer iterations than relaxation alone, N/(2m) = 24, and than with fine steps as coarse ones."""
    iterations = {}
    for cap in (1, None):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))
        phi = daskmgrit.torch.propagator(module.double(), cross_entropy, COARSE[name], (X[:32], Y[:32]), cap=cap)
        result = dm.MGRIT(phi, 96, cycle="F").solve(phi.w0, "constant", maxiter=8, chunks=1)
        iterations[cap] = result.iterations if result.converged else None
    assert iterations[None] is not None
    assert iterations[1] is None


@pytest.mark.parametrize("name", COARSE)
@pytest.mark.parametrize("level", [1, 3])
def test_a_coarse_step_is_so_many_steps_with_one_gradient(name, level):
    schedule = decreasing
    phi = daskmgrit.torch.propagator(
        network(), cross_entropy, COARSE[name], (X, Y), schedule=schedule, coarsening=[2, 3]
    )
    state = dm.train_serially(phi, phi.w0, 12)[-1]
    length = phi.length(level)
    coarse = phi.module(phi(state[None], np.array([2]), level)[0])
    # The optimizer itself, at fine step 2*length, with the gradient held.
    module = phi.module(state)
    optimizer = COARSE[name](module.parameters())
    moments = np.split(state[phi.layout.size :], phi.rule.moments)
    for place, moment in enumerate(moments):
        for parameter, part in zip(module.parameters(), phi.unflatten(moment).values(), strict=True):
            kept = optimizer.state[parameter]
            if name in ("momentum", "nesterov"):
                kept["momentum_buffer"] = part.clone()
            else:
                kept["exp_avg_sq" if place else "exp_avg"] = part**2 if place else part.clone()
                kept["step"] = torch.tensor(2.0 * length)
    cross_entropy(module(X), Y).backward()
    rate = optimizer.param_groups[0]["lr"]
    start = phi.module(state)
    for i in range(2 * length, 3 * length):
        optimizer.param_groups[0]["lr"] = rate * schedule(i)
        optimizer.step()
    for a, b, c in zip(coarse.parameters(), module.parameters(), start.parameters(), strict=True):
        assert (a - b).norm() <= 1e-10 * (b - c).norm()


def test_single_precision():
    make = OPTIMIZERS["adam"]
    phi = daskmgrit.torch.propagator(network(dtype=torch.float32), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    assert phi.w0.dtype == np.float32
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", tol=1e-4)
    assert result.final.dtype == np.float32
    module = network(dtype=torch.float32)
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS), 1e-3)
    double = daskmgrit.torch.propagator(network(dtype=torch.float32), cross_entropy, make, (X, Y), dtype=torch.float64)
    assert double.w0.dtype == np.float64


def test_batch_normalisation_is_part_of_the_state():
    make = OPTIMIZERS["momentum"]
    phi = daskmgrit.torch.propagator(network(nn.BatchNorm1d(6)), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    assert dm.check_propagator(phi, phi.w0).ok
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=2)
    assert result.converged
    module = network(nn.BatchNorm1d(6))
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))
    # A coarse step moves running statistics as far as its fine steps would with one batch.
    state = phi(phi.w0[None], np.array([0]), 2)[0]
    statistics = module[1].running_mean * 0
    layer = network(nn.BatchNorm1d(6)).train()
    for _ in range(4):
        layer(X[:BATCH])
    statistics = layer[1].running_mean
    torch.testing.assert_close(phi.module(state)[1].running_mean, statistics)
    # In evaluation mode they are constants.
    frozen = daskmgrit.torch.propagator(network(nn.BatchNorm1d(6)).eval(), cross_entropy, make, (X, Y))
    assert frozen.w0.size == phi.w0.size - 12


def test_frozen_parameters_are_constants():
    module = network()
    module[0].requires_grad_(False)
    phi = daskmgrit.torch.propagator(module, cross_entropy, optim.SGD(module[2].parameters(), lr=0.1), (X, Y))
    assert phi.names == ["2.weight", "2.bias"]
    state = phi(phi.w0[None], np.array([0]), 0)[0]
    assert torch.equal(phi.module(state)[0].weight, module[0].weight)
    assert {name: tuple(t.shape) for name, t in phi.unflatten(state).items()} == {"2.weight": (10, 6), "2.bias": (10,)}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_parameters_without_a_gradient_are_constants(name):
    """Those that the loss does not reach, which torch.optim does not decay either, and frozen ones."""

    module = network()
    module[1].register_parameter("unused", nn.Parameter(torch.ones(2).double()))
    module[0].bias.requires_grad_(False)
    phi = daskmgrit.torch.propagator(module, cross_entropy, OPTIMIZERS[name](module.parameters()), (X, Y), batch=BATCH)
    assert phi.names == ["0.weight", "2.weight", "2.bias"]
    trained = phi.module(dm.train_serially(phi, phi.w0, 4)[-1])
    assert_same(trained, loop(module, OPTIMIZERS[name](module.parameters()), 4), 1e-12)


def test_a_loss_of_the_weights():
    """The model that a loss is given is the module."""

    def penalised(model, data):
        return cross_entropy(model(data["x"]), data["y"]) + sum(p.square().sum() for p in model[0].parameters())

    module = network()
    phi = build(module, penalised, data={"x": X, "y": Y, "unused": torch.tensor(1.0)})
    state = phi(phi.w0[None], np.array([0]), 0)[0]
    penalised(module, {"x": X, "y": Y}).backward()
    sgd(module.parameters()).step()
    assert_same(phi.module(state), module, 1e-12)


class Closure(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, output, target):
        return cross_entropy(output, target) + self.module[0].weight.square().sum()


@pytest.mark.parametrize("kind", [lambda module: Closure(module).forward, Closure])
def test_a_loss_must_take_the_model_that_it_is_given(kind):
    module = network(nn.BatchNorm1d(6))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"loss\(model, data\)"):
        build(module, kind(module))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_a_scheduler_of_the_optimizer_is_not_passed_over():
    module = network()
    optimizer = OPTIMIZERS["sgd"](module.parameters())
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.5 * 0.9**i)
    with pytest.raises(ValueError, match="give schedule="):
        build(module, optimizer=optimizer)
    phi = build(module, optimizer=optimizer, schedule=lambda i: 0.5 * 0.9**i)
    state = dm.train_serially(phi, phi.w0, 3)[-1]
    for _ in range(3):
        loop(module, optimizer, 1, None)
        scheduler.step()
    assert_same(phi.module(state), module, 1e-12)


def test_decay_that_leaves_nothing():
    def make(parameters):
        return optim.AdamW(parameters, lr=0.1, weight_decay=10.0)

    phi = build(optimizer=make)
    assert np.isfinite(phi(phi.w0[None], np.array([0]), 2)).all()
    module = network()
    assert_same(phi.module(phi(phi.w0[None], np.array([0]), 0)[0]), loop(module, make(module.parameters()), 1, None))


def test_training_goes_on_where_an_optimizer_is():
    module = network()
    optimizer = OPTIMIZERS["adam"](module.parameters())
    loop(module, optimizer, 5, None)
    phi = daskmgrit.torch.propagator(module, cross_entropy, optimizer, (X, Y))
    state = dm.train_serially(phi, phi.w0, 3)[-1]
    loop(module, optimizer, 3, None)
    assert_same(phi.module(state), module, 1e-12)


def test_forms_of_data():
    module, make = network(), OPTIMIZERS["sgd"]
    dataset = torch.utils.data.TensorDataset(X[:100], Y[:100])
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, drop_last=True)
    given = [
        ((X[:96].numpy(), Y[:96].numpy()), BATCH),
        (torch.utils.data.TensorDataset(X[:96], Y[:96]), Serial(96, BATCH)),
        (loader, None),
    ]
    states = []
    for data, batch in given:
        phi = daskmgrit.torch.propagator(module, cross_entropy, make, data, batch=batch)
        states.append(dm.train_serially(phi, phi.w0, 7)[-1])
    assert np.array_equal(states[0], states[1])
    assert np.array_equal(states[0], states[2])


def test_states_in_groups():
    whole, parts = (
        daskmgrit.torch.propagator(network(), cross_entropy, OPTIMIZERS["sgd"], (X, Y), chunk_size=size)
        for size in (None, 2)
    )
    block = np.random.default_rng(0).standard_normal((5, whole.w0.size))
    np.testing.assert_allclose(whole(block, np.arange(5), 1), parts(block, np.arange(5), 1), rtol=1e-10)


def residual(model, data):
    """Loss of a network u(x) for -u'' = pi**2 sin(pi x), u(0) = u(1) = 0."""

    def second(x):
        return torch.func.grad(torch.func.grad(lambda s: model(s.reshape(1, 1)).squeeze()))(x)

    inside, ends = data["inside"], data["ends"]
    wanted = torch.pi**2 * torch.sin(torch.pi * inside)
    return ((torch.func.vmap(second)(inside) + wanted) ** 2).mean() + (model(ends) ** 2).mean()


def test_a_loss_of_the_model_and_its_derivatives():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    points = {"inside": torch.linspace(0, 1, 12).double(), "ends": torch.tensor([[0.0], [1.0]]).double()}
    phi = daskmgrit.torch.propagator(module, residual, lambda p: optim.Adam(p, lr=1e-3), points, cap=8)
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant")
    assert result.converged
    optimizer = optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        residual(module, points).backward()
        optimizer.step()
    assert_same(phi.module(result.final), module)
    with pytest.raises(ValueError, match="12, 2 rows"):
        daskmgrit.torch.propagator(module, residual, lambda p: optim.Adam(p), points, batch=2)
    with pytest.raises(ValueError, match="0, 12, 2 rows"):
        daskmgrit.torch.propagator(module, residual, sgd, {"factor": torch.tensor(2.0), **points}, batch=2)


def test_on_a_cluster(client):
    make = OPTIMIZERS["adam"]
    phi = daskmgrit.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    result = dm.MGRIT(phi, STEPS, max_levels=3).solve(phi.w0, "constant", client=client, chunks=2)
    module = network()
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))


# -- what is refused -----------------------------------------------------------------------------------------------


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10).double()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


class ToNumbers(nn.Linear):
    def forward(self, x):
        return super().forward(x) if float(x.sum() + self.weight.sum()) > 0 else -super().forward(x)


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1)


def build(module=None, loss=cross_entropy, optimizer=sgd, data=(X, Y), **options):
    return daskmgrit.torch.propagator(network() if module is None else module, loss, optimizer, data, **options)


def two_groups(parameters):
    first, *rest = parameters
    return optim.SGD([{"params": [first], "lr": 1.0}, {"params": rest}], lr=0.1)


def frozen():
    return network().requires_grad_(False)


def differentiated(model, data):
    """A physics-informed loss by torch.autograd, which torch.func does not know."""
    x = data.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope**2).mean()


class Pairs(torch.utils.data.Dataset):
    def __init__(self, named=False):
        self.named = named

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"x": X[i], "y": Y[i]} if self.named else (X[i], Y[i])


def loader(dataset, **options):
    return torch.utils.data.DataLoader(dataset, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"module": network(nn.Dropout(0.5))}, dm.PropagatorError, ["random", "module.eval()", "p=0"]),
        ({"module": Counts()}, ValueError, ["buffers calls"]),
        ({"module": network(nn.BatchNorm1d(6, momentum=None))}, ValueError, ["1 with momentum=None"]),
        ({"module": ToNumbers(64, 10).double()}, dm.PropagatorError, ["torch.func"]),
        ({"module": 3}, TypeError, ["module=3"]),
        ({"loss": 3}, TypeError, ["loss=3"]),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, ValueError, ["loss returned (128,)", "mean"]),
        ({"optimizer": lambda p: optim.RMSprop(p)}, TypeError, ["RMSprop", "SGD, Adam and AdamW"]),
        ({"optimizer": lambda p: optim.SGD(p, lr=0.1, momentum=0.5, dampening=0.1)}, ValueError, ["dampening=0.1"]),
        ({"optimizer": lambda p: optim.Adam(p, amsgrad=True)}, ValueError, ["amsgrad=True"]),
        ({"optimizer": two_groups}, ValueError, ["2 groups"]),
        (
            {"optimizer": optim.SGD(network().parameters(), lr=0.1)},
            ValueError,
            ["optimizer has 4", "4 are not of this module"],
        ),
        ({"optimizer": "adam"}, TypeError, ["optimizer='adam'"]),
        ({"data": (X, Y[:5])}, ValueError, ["(128, 64)", "(5,)"]),
        ({"data": "digits"}, TypeError, ["data=str"]),
        ({"data": (X[:0], Y[:0])}, ValueError, ["empty", "(0, 64)"]),
        ({"data": ((X, X), Y)}, TypeError, ["inputs of data is tuple", "mapping"]),
        ({"data": (["a", "b"], Y[:2])}, TypeError, ["inputs of data is list", "numbers"]),
        ({"data": Pairs()}, TypeError, ["data=Pairs", "DataLoader"]),
        ({"data": loader(Pairs(named=True))}, TypeError, ["batches are (dict)", "mapping"]),
        ({"data": loader(Pairs(), batch_size=3)}, ValueError, ["1, 3 examples", "drop_last=True"]),
        ({"data": (X[:, :5], Y)}, dm.PropagatorError, ["module and loss fail", "go together"]),
        ({"loss": differentiated, "data": X}, dm.PropagatorError, ["torch.func.grad and torch.func.vmap"]),
        ({"loss": lambda out, y: out.detach().sum()}, ValueError, ["no weight"]),
        ({"module": frozen()}, ValueError, ["all of them frozen"]),
        ({"schedule": 0.5}, TypeError, ["schedule=0.5", "function of the fine step"]),
        ({"schedule": "cosine"}, TypeError, ["schedule='cosine'", "sequence"]),
        ({"schedule": lambda i: None}, TypeError, ["schedule=", "function of the fine step"]),
        ({"schedule": optim.lr_scheduler.StepLR(sgd(network().parameters()), 5)}, TypeError, ["StepLR", "sequence"]),
        ({"device": "foo"}, ValueError, ["device='foo'", "cuda"]),
        ({"batch": 0}, ValueError, ["batch=0"]),
        ({"batch": 1000}, ValueError, ["batch=1000"]),
        ({"batch": Averaged(Serial(128))}, ValueError, ["averages"]),
        ({"schedule": []}, ValueError, ["schedule=[]"]),
        ({"cap": 0}, ValueError, ["cap=0"]),
        ({"chunk_size": 0}, ValueError, ["chunk_size=0"]),
        ({"dtype": torch.float16}, ValueError, ["dtype=torch.float16"]),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error) as caught:
        build(**arguments)
    assert all(word in str(caught.value) for word in words)


def test_dropout_in_evaluation_mode():
    phi = build(network(nn.Dropout(0.5)).eval())
    assert dm.check_propagator(phi, phi.w0).ok


def test_a_solver_with_another_coarsening():
    phi = build(coarsening=4)
    dm.MGRIT(phi, 40, coarsening=[4, 4])
    with pytest.raises(ValueError, match="phi was made for coarsening=4, but the solver coarsens by 2, 2"):
        dm.MGRIT(phi, 40)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("synchronous")
def test_single_precision_is_above_the_default_tolerance(dtype, caplog):
    phi = build(dtype=dtype, batch=BATCH)
    dm.MGRIT(phi, 20).solve(phi.w0, "constant", maxiter=0)
    assert ("give tol, such as 1e-05*sqrt(N)" in caplog.text) == (dtype == torch.float32)


def test_states_of_another_kind():
    phi = build()
    with pytest.raises(dm.PropagatorError, match=r"start from phi\.w0"):
        dm.MGRIT(phi, 40).solve(phi.w0.astype(np.float32))
    with pytest.raises(dm.PropagatorError, match="w0 has 3 entries"):
        dm.MGRIT(phi, 40).solve(np.ones(3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there():
    phi = build(device="cuda")
    with pytest.raises(dm.PropagatorError, match="device='cuda' cannot be used here"):
        dm.MGRIT(phi, 40).solve(phi.w0)


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
