"""Several single-threaded Dask workers in one process: ``python -m benchmarks.worker_process ADDRESS COUNT``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

__all__ = ["main"]

# Seconds in which a worker that has lost its scheduler ends.
PATIENCE = 60


async def main(address: str, count: int) -> None:
    """Run workers until their scheduler closes them."""
    from distributed import Worker

    # No limit of memory, which each would watch ten times a second.
    how: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "death_timeout": PATIENCE}
    workers = [Worker(address, **how) for _ in range(count)]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
