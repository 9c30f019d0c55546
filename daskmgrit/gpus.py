"""A GPU for each Dask worker process of a node: ``dask worker … --nworkers 4 --preload-nanny daskmgrit.gpus``.

Each worker process sees one of the GPUs, by ``CUDA_VISIBLE_DEVICES``, which is set before the process starts: that on
which the fewest others of the same ``dask worker`` are. With more workers than GPUs several share one. GPUs are those
that ``CUDA_VISIBLE_DEVICES`` lists, as SLURM sets it for a job with ``--gres=gpu:…``, else those that ``nvidia-smi``
finds; MIG instances count as GPUs. In Python: ``LocalCluster(n_workers=4, preload_nanny=["daskmgrit.gpus"])``.
"""

from __future__ import annotations

import os
import re
import subprocess
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

__all__ = ["dask_setup", "devices", "take_device"]

VARIABLE = "CUDA_VISIBLE_DEVICES"

# The nannies of this process, which start workers one after another.
_taken: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def _listed() -> str:
    """Return nvidia-smi's list of the GPUs; empty if the program is missing or fails."""
    try:
        out = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout if out.returncode == 0 else ""


def devices(visible: str | None = None, listed: Callable[[], str] = _listed) -> list[str]:
    """Return the GPUs of this node that may be used, as ``CUDA_VISIBLE_DEVICES`` names them.

    Parameters
    ----------
    visible : str, optional
        Value of that variable, by default in this process; if it is set, only its GPUs are used.
    listed : callable, optional
        Returns what ``nvidia-smi -L`` prints.

    Examples
    --------
    >>> devices("0,3"), devices("")
    (['0', '3'], [])
    >>> parts = ["GPU 0: H100 (UUID: GPU-a)", "MIG 1g Device 0: (UUID: MIG-b)", "MIG 1g Device 1: (UUID: MIG-c)"]
    >>> devices(None, lambda: " ".join([*parts, "GPU 1: H100 (UUID: GPU-d)"]))
    ['MIG-b', 'MIG-c', 'GPU-d']
    """
    visible = os.environ.get(VARIABLE) if visible is None else visible
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    found: list[str] = []
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", listed()):
        # A GPU that is cut into instances cannot be used as a whole.
        if name.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(name)
    return found


def take_device(number: int, environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Restrict this process to one GPU, before it has used any; return its name, None without GPUs.

    Parameters
    ----------
    number : int
        Number of this process on its node, such as ``SLURM_LOCALID``: process k takes GPU k, modulo their number.
    environment : mapping, optional
        Where ``CUDA_VISIBLE_DEVICES`` is set.
    """
    found = devices(environment.get(VARIABLE))
    if not found:
        return None
    environment[VARIABLE] = found[number % len(found)]
    return environment[VARIABLE]


async def dask_setup(nanny: Any) -> None:
    """Give the worker of a nanny the GPU that the fewest others have; Dask calls this.

    Raises
    ------
    RuntimeError
        If there are no GPUs, or this process is not a nanny.
    """
    if not hasattr(nanny, "env"):
        raise RuntimeError(
            "daskmgrit.gpus is for --preload-nanny, not --preload: a GPU is chosen before a worker's process starts"
        )
    found = devices()
    if not found:
        raise RuntimeError(
            f"daskmgrit.gpus: no GPU here. {VARIABLE} lists none, or is unset and nvidia-smi finds none; in a SLURM "
            "job request GPUs, e.g. --gres=gpu:1"
        )
    taken = list(_taken.values())
    chosen = min(found, key=taken.count)
    _taken[nanny] = nanny.env[VARIABLE] = chosen
