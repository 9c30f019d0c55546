"""A batched gradient as the flat graph of its kernels.

A call through :mod:`torch.func` takes ten times as long in Python as in the kernels of a small net. The kernels are the
same for all blocks of one shape, so they are recorded once and then called directly; on a GPU, all by one launch.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from daskmgrit.torch.kernel_passes import drop_empty_calls, use_bindings

__all__ = ["KernelGraphs"]

logger = logging.getLogger("daskmgrit")

# Recording takes as long as some hundred calls gain, so shapes that come a few times only are left as they are.
_CALLS = 64

# Results of kernels that a graph on a GPU may hold; more of them keep a GPU busy without being launched at once.
_MOST_HELD = 2**28

# Recording replaces methods of torch.nn.Module for a moment.
_lock = threading.Lock()

Function = Callable[..., torch.Tensor]


class KernelGraphs:
    """Calls functions of tensors, which must run the same kernels for the same shapes.

    Frequent shapes are recorded. The graph then replaces the function if it gives the same bits; functions that cannot
    be recorded are called as before. Threads share the graphs.

    Examples
    --------
    >>> graphs, calls = KernelGraphs(), []
    >>> def scaled(x, factor):
    ...     calls.append(1)
    ...     return factor * x
    >>> x, factor = torch.arange(3.0), torch.tensor(2.0)
    >>> all(torch.equal(graphs(scaled, [i * x], [factor], "scaled"), 2 * i * x) for i in range(1000))
    True
    >>> len(calls) < 100
    True
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._calls: Counter[Any] = Counter()
        self._graphs: dict[Any, Function | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # graphs are of one process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._clear()

    def __call__(
        self, function: Function, tensors: Sequence[torch.Tensor], fixed: Sequence[torch.Tensor], name: Hashable
    ) -> torch.Tensor:
        """Return ``function(*tensors, *fixed)``.

        Parameters
        ----------
        function : callable
            Of tensors, returns one.
        tensors, fixed : sequence of Tensor
            Its arguments: those in `fixed` have the same numbers in all calls.
        name : hashable
            Name of the function.
        """
        # A view of a block is another than one with other strides.
        key = name, *((t.shape, t.stride(), t.dtype, t.device) for t in (*tensors, *fixed))
        graph = self._graphs.get(key)
        if graph is not None:
            return graph(*tensors, *fixed)
        value = function(*tensors, *fixed)
        self._calls[key] += 1
        # Values that are not finite show little about the kernels.
        if self._calls[key] >= _CALLS and key not in self._graphs and bool(value.isfinite().all()):
            with _lock:
                if key not in self._graphs:
                    self._graphs[key] = _recorded(function, tensors, fixed, value)
        return value


def _recorded(
    function: Function, tensors: Sequence[torch.Tensor], fixed: Sequence[torch.Tensor], value: torch.Tensor
) -> Function | None:
    """Return the kernels of a call as a function, or None if they give another value or can't be recorded."""
    try:
        # Fake tensors hold no numbers: none of these get into the graph, and recording takes no memory.
        graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors, *fixed)
        drop_empty_calls(graph)
        use_bindings(graph)
        made = _without_autograd(graph.forward)
        if not torch.equal(made(*tensors, *fixed), value):
            return None
        if value.is_cuda and _held_bytes(graph) <= _MOST_HELD:
            made = _one_launch(made, tensors, fixed)
            return made if torch.equal(made(*tensors, *fixed), value) else None
    except Exception as error:  # of any kind: what a user's function computes has no bound
        logger.debug("its kernels are not recorded: %s: %s", type(error).__name__, error)
        return None
    return made


def _without_autograd(graph: Function) -> Function:
    def call(*tensors: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return graph(*tensors)

    return call


def _held_bytes(graph: torch.fx.GraphModule) -> int:
    """Return an upper bound of the bytes of all kernels' results."""
    values = (node.meta.get("val") for node in graph.graph.nodes if node.op == "call_function")
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, torch.Tensor))


def _one_launch(function: Function, tensors: Sequence[torch.Tensor], fixed: Sequence[torch.Tensor]) -> Function:
    """Return a function on a GPU as a CUDA graph, which works on buffers of its own."""
    device, lock = tensors[0].device, threading.Lock()
    buffers = [tensor.clone() for tensor in tensors]
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        function(*buffers, *fixed)  # so that libraries have allocated what they need
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile.
    with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = function(*buffers, *fixed)
    kept = tuple(fixed)  # where the graph reads them, though each thread has its own

    def call(*given: torch.Tensor) -> torch.Tensor:
        with lock:
            for buffer, tensor in zip(buffers, given[: len(given) - len(kept)], strict=True):
                buffer.copy_(tensor)
            graph.replay()
            return found.clone()

    return call
