"""Array libraries other than NumPy."""

from tests.support.optional import need


def library(name):
    """The array functions of a library."""
    if name == "strict":
        # Nothing but the standard: what is not in it raises.
        return need("array_api_strict", "test")
    if name == "torch":
        return need("torch", "torch")
    jax = need("jax", "jax")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy
