"""JAX training loops with optax transformations as propagators."""

try:
    import jax as _jax  # noqa: F401
    import optax as _optax  # noqa: F401
except ImportError as error:
    from daskmgrit.utils.install_hint import install_hint

    raise ImportError(
        f"daskmgrit.jax needs JAX and optax, of which {error.name} is not installed: {install_hint('jax')}"
    ) from None

# The function has the name of a module, which must be there before it.
from daskmgrit.jax.propagator import JaxPropagator  # isort: skip
from daskmgrit.jax.loop import propagator  # isort: skip

__all__ = ["JaxPropagator", "propagator"]
