"""Which modules have their examples run: those whose packages are installed."""

from importlib.util import find_spec

NEEDS = {"torch": ("torch",), "jax": ("jax", "optax"), "slurm": ("dask_jobqueue",)}

collect_ignore_glob = [
    f"daskmgrit/{room}/*" for room, needed in NEEDS.items() if any(find_spec(name) is None for name in needed)
]
