"""PyTorch modules and their optimizers as propagators."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("daskmgrit.torch needs PyTorch, which is not installed: pip install 'daskmgrit[torch]'") from None

from daskmgrit.torch.propagator import TorchPropagator, propagator

__all__ = ["TorchPropagator", "propagator"]
