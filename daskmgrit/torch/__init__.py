"""PyTorch modules and their optimizers as propagators."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    from daskmgrit.utils.install_hint import install_hint

    raise ImportError(f"daskmgrit.torch needs PyTorch, which is not installed: {install_hint('torch')}") from None

from daskmgrit.torch.propagator import TorchPropagator, propagator

__all__ = ["TorchPropagator", "propagator"]
