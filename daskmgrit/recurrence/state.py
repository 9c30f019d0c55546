"""The initial state of a recurrence: as the user gave it, and as it is sent to the place where phi runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.utils.array_api import Array, Origin, as_block, is_array, library_of, origin, plain, to_host
from daskmgrit.utils.validation import brief

__all__ = ["InitialState", "check_length", "initial_state", "no_array", "one_state"]


@dataclass(frozen=True, slots=True, eq=False)
class InitialState:
    """The user's w0, checked.

    Attributes
    ----------
    host : ndarray, shape (s,)
        A copy in host memory.
    origin : ndarray or Origin
        The object to send to workers: `host` itself, or a recipe for the user's array of another library.
    """

    host: np.ndarray
    origin: np.ndarray | Origin

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of its entries."""
        return self.host.dtype

    @property
    def size(self) -> int:
        """Number of weights, s."""
        return self.host.size

    @property
    def nbytes(self) -> int:
        """Bytes of a state."""
        return self.host.nbytes

    @property
    def library(self) -> str:
        """Name of the library of the user's w0, such as "numpy" or "torch"."""
        return library_of(self.origin)

    def origin_of(self, host: np.ndarray) -> np.ndarray | Origin:
        """Return the object to send to workers for another state, from its copy in host memory."""
        return self.origin._replace(host=host) if isinstance(self.origin, Origin) else host

    def block(self, phi: Any) -> Array:
        """Return the state, shape (s,), as the array that `phi` works on."""
        return as_block(phi, self.origin)


def initial_state(w0: Any) -> InitialState:
    """Return the initial state for the user's `w0`.

    Parameters
    ----------
    w0 : array_like, shape (s,)
        Array of NumPy, or of another library that follows the Python array API standard; a dask array or `dask.delayed`
        value, a pandas Series, an xarray DataArray. Integers become float64, and foreign byte orders this machine's.

    Raises
    ------
    ValueError
        If it is not a finite vector of floating-point numbers with at least one entry, or if entries are masked.
    """
    if hasattr(w0, "__dask_graph__"):
        w0 = w0.compute()
    try:
        host = plain(np.array(to_host(w0) if is_array(w0) else w0, subok=True), "w0")
    except (TypeError, NotImplementedError) as error:
        # NotImplementedError is torch's, of a tensor that holds no numbers.
        raise no_array(w0, "w0", "all weights as one flat vector", error) from error
    except RuntimeError as error:
        # Of PyTorch's parameters in a list.
        if "requires grad" not in str(error):
            raise
        raise ValueError(
            f"w0 is a {type(w0).__name__} of tensors that require gradients: give all weights as one flat vector, such "
            "as phi.w0 of a module's propagator, or torch.nn.utils.parameters_to_vector(w0).detach()"
        ) from None
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            "w0 is a sequence of arrays of several shapes: give all weights as one flat vector, e.g. "
            "np.concatenate([part.ravel() for part in w0])"
        ) from None
    if host.dtype.kind in "iub":
        host = host.astype(np.float64)
    if host.dtype.kind not in "fc":
        dense = ", w0.toarray().ravel()" if hasattr(w0, "toarray") else ""
        if callable(getattr(w0, "parameters", None)):
            dense = ", such as phi.w0 of the module's propagator"
        elif isinstance(w0, Mapping):
            dense = ", np.concatenate([np.ravel(part) for part in w0.values()])"
        raise ValueError(
            f"w0 has dtype {host.dtype} ({type(w0).__name__}): give a vector of floating-point numbers{dense}"
        )
    if host.ndim != 1 or not host.size:
        raise ValueError(
            f"w0 has shape {host.shape}: give all weights as one flat vector of shape (s,), s >= 1, e.g. np.ravel(w0)"
        )
    if not np.isfinite(host).all():
        raise ValueError(f"w0 holds nan or inf at entry {int(np.argmin(np.isfinite(host)))}: give finite weights")
    return InitialState(host, origin(w0, host))


def check_length(phi: Any, w0: InitialState) -> None:
    """Check the length of an initial state, if phi has the one that it expects as an attribute ``state_size``.

    Raises
    ------
    ValueError
        If it has another length.
    """
    size = getattr(phi, "state_size", None)
    if isinstance(size, int) and size != w0.size:
        own = ", such as phi.w0" if hasattr(phi, "w0") else ""
        raise ValueError(
            f"w0 has length {w0.size}, but states of {type(phi).__name__} have {size}: give a w0 of that length{own}"
        )


def no_array(value: Any, name: str, wanted: str, error: Exception) -> ValueError:
    """Return the error for a container of arrays that cannot become one array, such as xarray's Dataset."""
    said = str(error).partition(". ")[0]
    return ValueError(f"{name} is a {type(value).__name__}, not an array of numbers ({said}): give {wanted}")


def one_state(state: Any, like: np.ndarray) -> np.ndarray:
    """Return a copy of a state that a user gives, of the shape and the dtype of another.

    Raises
    ------
    ValueError
        If the given state has another shape, or is no array of numbers.
    """
    try:
        given = np.asarray(to_host(state) if is_array(state) else state)
        if given.dtype.kind == "c" and like.dtype.kind != "c":
            raise TypeError(f"{given.dtype} has imaginary parts, which {like.dtype} cannot hold")
        rows = np.array(given, like.dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"state={brief(state)} is no array of {like.dtype} ({error}): give result.final") from None
    if rows.shape != like.shape:
        raise ValueError(f"state has shape {rows.shape}, not {like.shape}: give one state, such as result.final")
    return rows
