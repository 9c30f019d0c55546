"""All private parts of other packages that this one imports, each with the reason.

A release of NumPy, PyTorch, scikit-learn or distributed may change or remove them without notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "failed_to_connect",
    "forget_losses",
    "list_too",
    "place_groups",
    "sum_of_products",
    "trainer_of",
    "write_count",
]

# numpy.einsum without its Python part, which takes as long as the sum itself for a few states: 5.3 us against 2.7 us
# for 4x3 weights. The public function is the fallback; it calls this one, so the bits are the same.
sum_of_products: Callable[..., Any]
try:
    from numpy._core.multiarray import c_einsum as sum_of_products
except ImportError:
    sum_of_products = np.einsum


def write_count(tensor: Any) -> int | None:
    """Return the number of writes to a torch tensor, or to its memory; None if torch does not count them.

    PyTorch has no public name for its version counter, and comparing copies would take as long as a cheap Phi.
    """
    return None if tensor.is_inference() else int(tensor._version)


def trainer_of(perceptron: Any) -> Any:
    """Return the optimizer of a scikit-learn MLPClassifier or MLPRegressor, with its momenta and its step count.

    scikit-learn offers no public way to read and set them, which one step from a given state needs.
    """
    return perceptron._optimizer


def forget_losses(perceptron: Any) -> None:
    """Delete a scikit-learn perceptron's losses of earlier steps, which may end a fit.

    The count of steps without improvement has no public name.
    """
    perceptron.loss_curve_, perceptron.best_loss_, perceptron._no_improvement_count = [], np.inf, 0


def failed_to_connect(client: Any) -> bool:
    """Whether a distributed.Client never reached its scheduler; it stays the current client until it is collected.

    Its status remains "connecting", as that of a client that still tries, and ``scheduler_info()`` would try again.
    """
    return client.status == "connecting" and not getattr(client, "_scheduler_identity", True)


def list_too(application: Any, contexts: dict[str, Any]) -> None:
    """Add documents to those that an application of Bokeh's server lists; it does not serve them.

    Its attribute ``applications`` is a copy.
    """
    listed = getattr(application, "_applications", None)
    if isinstance(listed, dict):
        listed.update(contexts)


def place_groups(component: Any, layout: Callable[[dict[str, set[str]]], Any]) -> None:
    """Let distributed's class TaskGroupGraph, the plot of its page /groups, place task groups by `layout`.

    Dask asks ``dask.order`` for an order of the groups, which has not used their dependencies since 2024.12, and no
    order exists for groups that depend on each other in a circle: the page answers with status 500 and, while open,
    writes an error to the scheduler's log with each update. There is no public way to set another layout.
    """

    def update_layout(self: Any) -> Any:
        groups = self.scheduler.task_groups.items()
        return layout({name: {parent.name for parent in group.dependencies} for name, group in groups})

    if hasattr(component, "update_layout"):
        component.update_layout = update_layout
