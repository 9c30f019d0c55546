"""PyTorch modules and their optimizers as propagators."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    from daskmgrit.utils.install_hint import install_hint

    raise ImportError(f"daskmgrit.torch needs PyTorch, which is not installed: {install_hint('torch')}") from None

# The function has the name of a module, which must be there before it.
from daskmgrit.torch.propagator import TorchPropagator  # isort: skip
from daskmgrit.torch.loop import propagator  # isort: skip

__all__ = ["TorchPropagator", "propagator"]
