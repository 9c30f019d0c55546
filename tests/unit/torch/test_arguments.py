"""What the PyTorch adapter refuses."""

import warnings

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Averaged, Serial
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


def traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(network(), X)


def old_weight_norm(part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(part)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, named=False):
        self.named = named

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"x": X[i], "y": Y[i]} if self.named else (X[i], Y[i])


def hooked(change):
    module = network()
    change(module[0])
    return module


def prune(part):
    from torch.nn.utils import prune

    prune.l1_unstructured(part, "weight", 0.3)


def noisy(output, target):
    return cross_entropy(output + torch.randn_like(output), target)


class Noisy(nn.Module):
    """A loss that is a module, as those of PyTorch are."""

    def forward(self, output, target):
        return noisy(output, target)


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def loader(dataset, **options):
    return torch.utils.data.DataLoader(dataset, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"module": network(nn.Dropout(0.5))}, dm.PropagatorError, ["module draws random", "module.eval()", "p=0"]),
        ({"loss": noisy}, dm.PropagatorError, ["loss draws random", "give them with the data"]),
        ({"loss": Noisy()}, dm.PropagatorError, ["loss draws random"]),
        ({"module": network(Noise())}, dm.PropagatorError, ["module draws random"]),
        ({"module": Counts()}, ValueError, ["buffers calls"]),
        ({"module": network(nn.BatchNorm1d(6, momentum=None))}, ValueError, ["1 with momentum=None"]),
        ({"module": ToNumbers(64, 10).double()}, dm.PropagatorError, ["torch.func"]),
        ({"module": traced()}, ValueError, ["ScriptModule", "scripted or traced from"]),
        ({"module": nn.Sequential(traced())}, ValueError, ["has 0 as", "ScriptModule"]),
        ({"module": hooked(old_weight_norm)}, ValueError, ["computes 0.weight", "parametrizations"]),
        ({"module": hooked(prune)}, ValueError, ["computes 0.weight", "prune.remove"]),
        ({"loss": sgd(network().parameters())}, TypeError, ["loss=SGD", "the order is propagator(module, loss,"]),
        ({"optimizer": nn.CrossEntropyLoss()}, TypeError, ["optimizer=CrossEntropyLoss", "the order is"]),
        ({"optimizer": (X, Y)}, TypeError, ["optimizer=(tensor", "the order is"]),
        ({"module": cross_entropy}, TypeError, ["module=<function", "the order is"]),
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
        ({"data": (X[:, :5], Y)}, dm.PropagatorError, ["module and loss fail", "give data that fit"]),
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
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_new_weight_normalisation_is_taken_on_threads():
    phi = build(hooked(torch.nn.utils.parametrizations.weight_norm))
    assert dm.MGRIT(phi, STEPS).solve(phi.w0, "constant").converged


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_that_shuffles_is_told(shuffle, caplog):
    data = torch.utils.data.TensorDataset(X, Y)
    sampler = torch.utils.data.RandomSampler(data) if shuffle else torch.utils.data.SequentialSampler(data)
    batches = torch.utils.data.BatchSampler(sampler, BATCH, drop_last=True)
    for each in (
        loader(data, batch_size=BATCH, shuffle=shuffle),
        loader(data, batch_sampler=batches),
        loader(data, sampler=batches, batch_size=None),
    ):
        caplog.clear()
        build(data=each)
        assert sum("DataLoader that shuffles" in message for message in caplog.messages) == shuffle


@pytest.mark.parametrize("state", [np.zeros(3), np.zeros((1, 460)), 1.0, None, "weights", [[0.0], [0.0, 1.0]]])
def test_a_module_of_what_is_no_state(state):
    phi = build()
    assert phi.w0.size == 460
    for act in (phi.module, phi.loss, phi.unflatten):
        with pytest.raises(ValueError, match=r"state.*result\.final"):
            act(state)


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
def test_the_default_tolerance_is_above_rounding(dtype, caplog):
    phi = build(dtype=dtype, batch=BATCH)
    result = dm.MGRIT(phi, 64).solve(phi.w0, "constant")
    assert result.converged
    assert result.tol >= (1e-5 if dtype == torch.float32 else 1e-9) * 8
    assert not caplog.records


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"optimizer": optim.SGD}, r"optimizer=SGD is a class: give .* SGD\(module.parameters\(\), lr=0.01\)"),
        ({"loss": nn.CrossEntropyLoss}, r"loss=CrossEntropyLoss is a class: give .* CrossEntropyLoss\(\)"),
        ({"loss": int}, "loss=int is a class"),
        ({"dtype": "float32"}, r"dtype='float32' is not supported: give torch\.float32"),
        ({"dtype": torch.complex64}, r"dtype=torch\.complex64 is not supported"),
        ({"module": nn.Linear(3, 1, dtype=torch.complex64)}, r"module has weights of torch\.complex64.*real and imag"),
    ],
)
def test_values_of_the_wrong_kind_are_named_with_the_remedy(wrong, words):
    with pytest.raises((TypeError, ValueError), match=words):
        build(**wrong)


@pytest.mark.parametrize("kind", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_spectral_norm(kind):
    module = nn.Sequential(kind(nn.Linear(X.shape[1], X.shape[1])), network()).double()
    with pytest.raises(ValueError, match=r"spectral_norm.*remove_spectral_norm"):
        build(module)


def test_states_of_another_kind():
    phi = build()
    for use in (phi.module, phi.loss):
        with pytest.raises(ValueError, match="complex128 has imaginary parts, which float64 cannot hold"):
            use(phi.w0.astype(complex))
    with pytest.raises(dm.PropagatorError, match=r"start from phi\.w0"):
        dm.MGRIT(phi, 40).solve(phi.w0.astype(np.float32))
    with pytest.raises(dm.PropagatorError, match="w0 has 3 entries"):
        dm.MGRIT(phi, 40).solve(np.ones(3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there():
    phi = build(device="cuda")
    with pytest.raises(dm.PropagatorError, match="device='cuda' cannot be used here"):
        dm.MGRIT(phi, 40).solve(phi.w0)
