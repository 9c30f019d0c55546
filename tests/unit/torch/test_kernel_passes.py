"""Simplified graphs of kernels: fewer calls, the same bits."""

import pytest

from tests.support.torch_training import nn, torch  # isort: skip
from torch.fx.experimental.proxy_tensor import make_fx  # isort: skip
from daskmgrit.torch import kernel_passes  # isort: skip


def kernels(graph):
    return [str(node.target).split(".")[-2] for node in graph.graph.nodes if node.op == "call_function"]


def test_calls_that_change_nothing_are_dropped():
    def function(x):
        return (x.view(3, 4).expand(3, 4).transpose(0, 1).transpose(0, 1) * 1).sum(1)

    x = torch.arange(12.0).reshape(3, 4)
    graph = make_fx(function, tracing_mode="fake")(x)
    kernel_passes.drop_empty_calls(graph)
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_function", "output"]
    assert torch.equal(graph(x), function(x))


def test_what_writes_is_left():
    def writes(x):
        y = x.clone()
        y.view(-1).add_(1)
        return y * 1

    x = torch.arange(12.0).reshape(3, 4)
    graph = make_fx(writes, tracing_mode="fake")(x)
    kernel_passes.drop_empty_calls(graph)
    assert torch.equal(graph(x), x + 1)


@pytest.mark.parametrize("loss", [nn.functional.mse_loss, lambda x, y: ((x - y) ** 2).sum()], ids=["mean", "sum"])
def test_a_gradient_leaves_the_loss_out(loss):
    def gradient(x, y):
        return torch.func.vmap(torch.func.grad(lambda x, y: loss(x, y)), in_dims=(0, None))(x, y)

    x, y = torch.randn(5, 3), torch.randn(3)
    graph = make_fx(gradient, tracing_mode="fake")(x, y)
    before = kernels(graph)
    kernel_passes.drop_empty_calls(graph)
    assert "ones_like" in before
    assert not {"ones_like", "mse_loss", "mean", "sum"} & set(kernels(graph))
    assert torch.equal(graph(x, y), gradient(x, y))


@pytest.mark.parametrize("other", [torch.arange(4.0), torch.arange(12).reshape(3, 4), torch.ones(2, 3, 4)])
def test_products_with_ones_that_change_shape_or_dtype_stay(other):
    def function(x):
        return torch.ones_like(x) * other, other * torch.ones_like(x)

    x = torch.randn(3, 4)
    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(x)
    kernel_passes.drop_empty_calls(graph)
    for found, expected in zip(graph(x), function(x), strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


_A = torch.linspace(0.1, 2, 12).reshape(3, 4)
_B = _A.flip(0)
_BATCH = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
# Arguments as recorded calls have them.
ARGUMENTS = {
    "add.Tensor": (_A, _B),
    "addmm": (_A[:, :3], _A, _B.T),
    "bmm": (_BATCH, _BATCH.transpose(1, 2)),
    "cat": ([_A, _B], 1),
    "div.Scalar": (_A, 3),
    "div.Tensor": (_A, _B),
    "exp": (_A,),
    "expand": (_A, [2, 3, 4]),
    "mm": (_A, _B.T),
    "mul.Scalar": (_A, 0.3),
    "mul.Tensor": (_A, _B),
    "neg": (_A,),
    "relu": (_A - 1,),
    "sigmoid": (_A,),
    "split_with_sizes": (_A, [1, 3], 1),
    "sqrt": (_A,),
    "sub.Tensor": (_A, _B),
    "sum.dim_IntList": (_BATCH, [1], True),
    "tanh": (_A,),
    "transpose.int": (_BATCH, 1, 2),
    "unsqueeze": (_A, 1),
    "view": (_A, [2, 6]),
}


def test_bindings_are_the_kernels():
    replaced = {**kernel_passes._BINDINGS, **kernel_passes._METHODS}
    assert {str(kernel).removeprefix("aten.").removesuffix(".default") for kernel in replaced} == set(ARGUMENTS)
    for kernel in replaced:
        arguments = ARGUMENTS[str(kernel).removeprefix("aten.").removesuffix(".default")]
        graph = torch.fx.Graph()
        names = [graph.placeholder(f"x{i}") if isinstance(x, torch.Tensor) else x for i, x in enumerate(arguments)]
        given = [x for x in arguments if isinstance(x, torch.Tensor)]
        if isinstance(arguments[0], list):
            given, names[0] = arguments[0], [graph.placeholder(f"y{i}") for i in range(len(arguments[0]))]
        graph.output(graph.call_function(kernel, tuple(names)))
        module = torch.fx.GraphModule(nn.Module(), graph)
        kernel_passes.use_bindings(module)
        assert "torch.ops" not in module.code
        found, expected = module(*given), kernel(*arguments)
        pairs = zip(found, expected, strict=True) if isinstance(found, list | tuple) else [(found, expected)]
        assert all(torch.equal(one, other) and one.stride() == other.stride() for one, other in pairs)
