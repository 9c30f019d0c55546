"""PyTorch modules as propagators, against torch.optim's own serial loop."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Serial
from tests.support.torch_training import (
    BATCH,
    OPTIMIZERS,
    STEPS,
    X,
    Y,
    assert_same,
    build,
    cross_entropy,
    loop,
    network,
    nn,
    optim,
    sgd,
    torch,
)


def decreasing(i):
    return 0.98**i


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
    phi = dm.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, schedule=schedule, cap=8)
    module = network()
    loop(module, make(module.parameters()), STEPS, factor=schedule)
    assert_same(phi.module(dm.train_serially(phi, phi.w0, STEPS)[-1]), module, 1e-12)
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=3)
    assert result.converged
    assert_same(phi.module(result.final), module)
    assert phi.loss(result.final) == pytest.approx(cross_entropy(module(X), Y).item(), rel=1e-6)


@pytest.mark.parametrize("first", [0, 12])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pytorchs_loop_continues_from_a_state(name, first):
    make = OPTIMIZERS[name]
    phi = dm.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, schedule=decreasing)
    state = dm.train_serially(phi, phi.w0, first)[-1] if first else phi.w0
    module = phi.module(state, first)
    optimizer = phi.optimizer(state, first, module)
    whole = network()
    theirs = make(whole.parameters())
    loop(whole, theirs, first, factor=decreasing)
    theirs.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
    assert optimizer.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    kept = [optimizer.state[weight] for weight in module.parameters()]
    for mine, weight in zip(kept, whole.parameters(), strict=True):
        # Older versions note that plain SGD has no momentum.
        other = {key: value for key, value in theirs.state[weight].items() if value is not None}
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            torch.testing.assert_close(value, other[key])
    loop(module, optimizer, 8, factor=decreasing, first=first)
    loop(whole, theirs, 8, factor=decreasing, first=first)
    assert_same(module, whole, 1e-12)
    # And a propagator from there.
    again = dm.torch.propagator(module, cross_entropy, optimizer, (X, Y), batch=BATCH)
    np.testing.assert_allclose(again.w0, dm.train_serially(phi, phi.w0, first + 8)[-1], rtol=1e-9, atol=1e-12)


def test_an_optimizer_names_what_is_wrong():
    phi = build()
    with pytest.raises(ValueError, match=r"steps=-1"):
        phi.optimizer(phi.w0, -1, phi.module(phi.w0))
    wider = nn.Sequential(nn.Linear(64, 7), nn.Tanh(), nn.Linear(7, 10))
    for module in (nn.Linear(2, 2), wider):
        with pytest.raises(ValueError, match=r"no weight '0.weight' of shape \(6, 64\).*phi\.module"):
            phi.optimizer(phi.w0, 1, module)
    with pytest.raises(TypeError, match=r"module=None is not a torch.nn.Module.*phi\.module"):
        phi.optimizer(phi.w0, 1, None)
    with pytest.raises(ValueError, match="shape"):
        phi.optimizer(phi.w0[:-1], 1, phi.module(phi.w0))


@pytest.mark.parametrize("name", ["momentum", "adam", "adamw"])
@pytest.mark.usefixtures("synchronous")
def test_the_coarse_rule_converges(name):
    """Within a quarter of the N/(2m) = 16 cycles that relaxation alone takes; not so with fine steps as coarse ones."""
    left = {}
    for cap in (1, None):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))
        phi = dm.torch.propagator(module.double(), cross_entropy, COARSE[name], (X[:32], Y[:32]), cap=cap)
        result = dm.MGRIT(phi, 64, cycle="F").solve(phi.w0, "constant", tol=0, maxiter=4, chunks=1)
        left[cap] = result.residuals[4] / result.residuals[0]
    assert left[None] < 1e-4 < 1e-2 < left[1]


@pytest.mark.parametrize("name", COARSE)
@pytest.mark.parametrize("level", [1, 3])
def test_a_coarse_step_is_so_many_steps_with_one_gradient(name, level):
    schedule = decreasing
    phi = dm.torch.propagator(network(), cross_entropy, COARSE[name], (X, Y), schedule=schedule, coarsening=[2, 3])
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
    phi = dm.torch.propagator(network(dtype=torch.float32), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    assert phi.w0.dtype == np.float32
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", tol=1e-4)
    assert result.final.dtype == np.float32
    module = network(dtype=torch.float32)
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS), 1e-3)
    double = dm.torch.propagator(network(dtype=torch.float32), cross_entropy, make, (X, Y), dtype=torch.float64)
    assert double.w0.dtype == np.float64


def test_batch_normalisation_is_part_of_the_state():
    make = OPTIMIZERS["momentum"]
    phi = dm.torch.propagator(network(nn.BatchNorm1d(6)), cross_entropy, make, (X, Y), batch=BATCH, cap=8)
    assert dm.check_propagator(phi, phi.w0).ok
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=2)
    assert result.converged
    module = network(nn.BatchNorm1d(6))
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))
    assert phi.module(result.final, STEPS)[1].num_batches_tracked == module[1].num_batches_tracked == STEPS
    again = dm.torch.propagator(module, cross_entropy, make, (X, Y))
    assert again.module(again.w0, 3)[1].num_batches_tracked == STEPS + 3
    # A coarse step moves running statistics as far as its fine steps would with one batch.
    state = phi(phi.w0[None], np.array([0]), 2)[0]
    statistics = module[1].running_mean * 0
    layer = network(nn.BatchNorm1d(6)).train()
    for _ in range(4):
        layer(X[:BATCH])
    statistics = layer[1].running_mean
    torch.testing.assert_close(phi.module(state)[1].running_mean, statistics)
    # In evaluation mode they are constants.
    frozen = dm.torch.propagator(network(nn.BatchNorm1d(6)).eval(), cross_entropy, make, (X, Y))
    assert frozen.w0.size == phi.w0.size - 12
    assert frozen.module(frozen.w0, 3)[1].num_batches_tracked == 0


def test_frozen_parameters_are_constants():
    module = network()
    module[0].requires_grad_(False)
    phi = dm.torch.propagator(module, cross_entropy, optim.SGD(module[2].parameters(), lr=0.1), (X, Y))
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
    phi = dm.torch.propagator(module, cross_entropy, OPTIMIZERS[name](module.parameters()), (X, Y), batch=BATCH)
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
    phi = dm.torch.propagator(module, cross_entropy, optimizer, (X, Y))
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
        phi = dm.torch.propagator(module, cross_entropy, make, data, batch=batch)
        states.append(dm.train_serially(phi, phi.w0, 7)[-1])
    assert np.array_equal(states[0], states[1])
    assert np.array_equal(states[0], states[2])


def test_states_in_groups():
    whole, parts = (
        dm.torch.propagator(network(), cross_entropy, OPTIMIZERS["sgd"], (X, Y), chunk_size=size) for size in (None, 2)
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
    phi = dm.torch.propagator(module, residual, lambda p: optim.Adam(p, lr=1e-3), points, cap=8)
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant")
    assert result.converged
    optimizer = optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        residual(module, points).backward()
        optimizer.step()
    assert_same(phi.module(result.final), module)
    with pytest.raises(ValueError, match="12, 2 rows"):
        dm.torch.propagator(module, residual, lambda p: optim.Adam(p), points, batch=2)
    with pytest.raises(ValueError, match="0, 12, 2 rows"):
        dm.torch.propagator(module, residual, sgd, {"factor": torch.tensor(2.0), **points}, batch=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_cuda_device():
    make = OPTIMIZERS["adam"]
    phi = dm.torch.propagator(network(), cross_entropy, make, (X, Y), batch=BATCH, cap=8, device="cuda")
    assert phi.to_block(phi.w0).is_cuda
    result = dm.MGRIT(phi, STEPS).solve(phi.w0, "constant", chunks=2)
    module = network()
    assert_same(phi.module(result.final), loop(module, make(module.parameters()), STEPS))
