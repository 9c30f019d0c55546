"""Simplification of a recorded graph of kernels, without a change of a bit of its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["drop_empty_calls", "use_bindings"]

# Kernels that only view the same numbers in another way.
_VIEWS = {"alias", "detach", "expand", "permute", "slice", "t", "transpose", "unsafe_view", "view"}

_aten = torch.ops.aten

# Python's own bindings of kernels take half the time of a call through torch.ops.
_BINDINGS: dict[Any, Callable[..., Any]] = {
    _aten.add.Tensor: torch.add,
    _aten.addmm.default: torch.addmm,
    _aten.bmm.default: torch.bmm,
    _aten.cat.default: torch.cat,
    _aten.div.Scalar: torch.div,
    _aten.div.Tensor: torch.div,
    _aten.exp.default: torch.exp,
    _aten.mm.default: torch.mm,
    _aten.mul.Scalar: torch.mul,
    _aten.mul.Tensor: torch.mul,
    _aten.neg.default: torch.neg,
    _aten.relu.default: torch.relu,
    _aten.sigmoid.default: torch.sigmoid,
    _aten.split_with_sizes.default: torch.split_with_sizes,
    _aten.sqrt.default: torch.sqrt,
    _aten.sub.Tensor: torch.sub,
    _aten.sum.dim_IntList: torch.sum,
    _aten.tanh.default: torch.tanh,
    _aten.transpose.int: torch.transpose,
    _aten.unsqueeze.default: torch.unsqueeze,
}
_METHODS = {_aten.expand.default: "expand", _aten.view.default: "view"}


def drop_empty_calls(graph: torch.fx.GraphModule) -> None:
    """Remove calls without effect, which batching and differentiating a net add: each takes as long as a small kernel.

    Products with ones are among them. If the ones are the derivative of the loss by itself, nothing asks for the loss.
    """
    nodes = list(graph.graph.nodes)
    names = {node: _operation(node) for node in nodes}
    if any(name.endswith("_") for name in names.values()):
        return  # something is written to: what looks at it matters
    ones = set()
    for node in nodes:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            continue
        if names[node] == "mul" and len(node.args) == 2:
            for same, factor in (node.args, node.args[::-1]):
                if (factor in ones or _is_one(factor)) and _looks(same) == _looks(node):
                    node.replace_all_uses_with(same)
                    break
            continue
        if names[node] == "ones_like" or (names[node].lstrip("_") in _VIEWS and node.args[0] in ones):
            ones.add(node)
        origin = node
        while names[origin].lstrip("_") in _VIEWS:
            origin = origin.args[0]
            if _looks(origin) == _looks(node):
                node.replace_all_uses_with(origin)
                break
    graph.graph.eliminate_dead_code()
    graph.recompile()


def use_bindings(graph: torch.fx.GraphModule) -> None:
    """Call kernels through Python's bindings where there are any."""
    for node in graph.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in _METHODS:
            node.op, node.target = "call_method", _METHODS[node.target]
        else:
            node.target = _BINDINGS.get(node.target, node.target)
    graph.recompile()


def _is_one(value: Any) -> bool:
    return isinstance(value, int) and value == 1


def _operation(node: torch.fx.Node) -> str:
    """Return the name of the kernel that a node calls."""
    packet = getattr(node.target, "overloadpacket", None)
    return "" if node.op != "call_function" or packet is None else packet.__name__


def _looks(node: Any) -> tuple[Any, ...] | None:
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    if not isinstance(value, torch.Tensor):
        return None
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device
