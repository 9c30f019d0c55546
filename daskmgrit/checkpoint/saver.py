"""The checkpoints of one solve: when one is due, the tasks that write and read it, and its completion."""

from __future__ import annotations

import datetime
import logging
import math
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dask.delayed import Delayed

from daskmgrit.checkpoint import fingerprint, store
from daskmgrit.checkpoint.place import claim, find
from daskmgrit.checkpoint.policy import Checkpoint
from daskmgrit.checkpoint.schema import check_manifest
from daskmgrit.errors import CheckpointError, CheckpointUnusable, ClusterError
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.builder import GraphBuilder, GraphContext
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid import c_point_kernels, chunk_kernels
from daskmgrit.multigrid.block import Block
from daskmgrit.multigrid.intervals import Span
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import InitialState
from daskmgrit.utils.array_api import Array, Origin, as_block, move_like, to_host

__all__ = ["Saved", "Saver", "open_saver"]

logger = logging.getLogger("daskmgrit")


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint.

    Attributes
    ----------
    path : Path
        Where it is.
    cycle : int
        Cycles done.
    residuals : list of float
        Their residuals, that of the initial guess first.
    phi_evaluations : list of int
        State updates on each level so far.
    depth : int
        Longest chain of Phi so far.
    problem, solve : dict
        The identity of the problem (see :mod:`daskmgrit.checkpoint.fingerprint`), and the options of the solve.
    chunk : tuple of int
        Rows and columns of a chunk of the array.
    checksums : dict
        Of every chunk, by its file's name.
    losses : list of float
        Of the final weights after the cycles before this one, if they were measured.
    """

    path: Path
    cycle: int
    residuals: list[float]
    phi_evaluations: list[int]
    depth: int
    problem: dict[str, Any]
    solve: dict[str, Any]
    chunk: tuple[int, int]
    checksums: dict[str, str]
    losses: list[float] = field(default_factory=list)

    def losses_before(self, cycle: int) -> list[float]:
        """Return the losses of the initial guess and the cycles before `cycle`, nan where none was measured."""
        return [*self.losses, *[math.nan] * cycle][:cycle]

    @classmethod
    def load(cls, path: Path) -> Saved:
        """Read a checkpoint's manifest."""
        content = store.manifest(path)
        check_manifest(path, content)
        return cls(
            path,
            content["cycle"],
            content["residuals"],
            content["phi_evaluations"],
            content["depth"],
            content["problem"],
            content["solve"],
            (content["chunk"][0], content["chunk"][1]),
            content["checksums"],
            content.get("losses", []),
        )

    @property
    def w0(self) -> Array:
        """The initial state."""
        return store.read(str(self.path), 0, 1, self.chunk, self.checksums)[0]


class Saver:
    """Saves the checkpoints of one solve, in a directory that :func:`~daskmgrit.checkpoint.place.claim` holds.

    Parameters
    ----------
    policy : Checkpoint
        Where and how often.
    w0 : InitialState
        The initial state.
    solve : dict
        Options of the solve, kept for a solve that resumes it.
    saved : Saved, optional
        The checkpoint that the solve resumes from.

    Attributes
    ----------
    saved : Saved or None
        The last checkpoint.
    losses : list of float
        Of the final weights after each cycle so far, if they are measured.
    """

    def __init__(self, policy: Checkpoint, w0: InitialState, solve: dict[str, Any], saved: Saved | None) -> None:
        if w0.dtype.str[1:] not in store.DTYPES or not w0.dtype.isnative:
            raise CheckpointError(
                f"w0 has dtype {w0.dtype.str}, which checkpoints cannot hold: use {', '.join(store.DTYPES)}"
            )
        self.policy, self.saved = policy, saved
        self._w0, self._solve = w0, solve
        self.losses: list[float] = []
        self._problem: dict[str, Any] = {}
        self._partial: Path | None = None
        self._chunk = (0, 0)
        self._clock = time.monotonic()

    # -- the problem ---------------------------------------------------------------------------------------------

    def identify(
        self,
        executor: Executor,
        context: GraphContext,
    ) -> None:
        """Identify the problem, and check that it is that of the checkpoint to resume from."""
        hierarchy = context.hierarchy
        options = fingerprint.describe(hierarchy, self._w0)
        if self.saved is not None:
            fingerprint.compare_options(self.saved.problem["options"], options, self.saved.path)
        book = TaskBook(executor.workers)
        args = (context.phi_task, context.w0_task, hierarchy.steps)
        task = book.add(f"fingerprint-{context.run}", fingerprint.evaluate, *args, owner=0)
        with fingerprint.noting(None if self.saved is None else self.saved.path, self._w0.host.size):
            known = executor.fetch(executor.submit(book, [task])[0], "the fingerprint of phi")
        if self.saved is not None:
            fingerprint.compare(self.saved.problem["phi"], known, self._w0.dtype, self.saved.path)
        self._problem = {"options": options, "phi": known}

    # -- when ----------------------------------------------------------------------------------------------------

    def wants(self, cycle: int) -> bool:
        """Whether the policy asks for a checkpoint after this cycle."""
        return self.policy.every is not None and cycle % self.policy.every == 0

    def overdue(self) -> bool:
        """Whether the policy asks for a checkpoint as soon as possible."""
        return self.policy.seconds is not None and time.monotonic() - self._clock > self.policy.seconds

    def has(self, cycle: int) -> bool:
        """Whether the last checkpoint is of this cycle."""
        return self.saved is not None and self.saved.cycle == cycle

    # -- how -----------------------------------------------------------------------------------------------------

    def write(self, builder: GraphBuilder, state: Sequence[Delayed]) -> Delayed:
        """Begin a checkpoint, and add the tasks that write it: each worker its own chunks."""
        self.close()
        bounds = builder.layout.bounds(builder.hierarchy)
        shape = builder.hierarchy[0].intervals, self._w0.size
        self._chunk = store.chunk_shape(bounds, self._w0.size, self._w0.dtype.itemsize)
        self._partial = store.create(
            self.policy.directory, builder.cycle, os.urandom(6).hex(), shape, self._w0.dtype, self._chunk
        )
        parts = [builder.chunk_task("save", j, _write, block, str(self._partial)) for j, block in enumerate(state)]
        return builder.chunk_task("saved", 0, _merge, parts)

    def finish(
        self, cycle: int, checksums: dict[str, str], residuals: list[float], evaluations: list[int], depth: int
    ) -> None:
        """Complete the checkpoint, and remove the one before."""
        assert self._partial is not None
        content = {
            "cycle": cycle,
            "residuals": residuals,
            "phi_evaluations": evaluations,
            "depth": depth,
            "losses": list(self.losses),
            "problem": self._problem,
            "solve": self._solve | {"every": self.policy.every, "seconds": self.policy.seconds},
            "chunk": self._chunk,
            "checksums": checksums | store.checksum_of_metadata(self._partial),
            "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        path = store.commit(self._partial, content)
        self._partial, self._clock = None, time.monotonic()
        self.saved = Saved.load(path)
        store.clear(self.policy.directory, keep=path)
        logger.info("the checkpoint of cycle %d is in %s", cycle, path)

    def read(self, builder: GraphBuilder, report: bool = False) -> list[Delayed]:
        """Add the tasks that make the state of level 0 from the last checkpoint.

        They depend only on phi, so the solve may forget the tasks that first made the state. Blocks that hold all
        points may report; blocks of C-points hold only the content of the file.
        """
        assert self.saved is not None
        saved = self.saved
        rows, columns = saved.chunk
        tasks = []
        for j, span in enumerate(builder.spans()):
            names = [
                f"c.{number}.{column}"
                for number in range(span.first // rows, -(-span.last // rows))
                for column in range(-(-self._w0.size // columns))
            ]
            wanted = {name: saved.checksums.get(name, "") for name in ["zarr.json", *names]}
            source = builder.phi_task, builder.w0_task, str(saved.path), saved.chunk, wanted
            tasks.append(
                builder.chunk_task("load", j, _read, *source, span, saved.cycle, saved.depth, builder.c_points, report)
            )
        return tasks

    def close(self) -> None:
        """Remove an incomplete checkpoint."""
        if self._partial is not None:
            store.discard(self._partial)
            self._partial = None

    def hint(self) -> str:
        """Return advice where to resume from."""
        directory = str(self.policy.directory)
        if self.saved is None:
            return f"no checkpoint had been saved in {directory} yet"
        return (
            f"the checkpoint of cycle {self.saved.cycle} is in {directory}: resume from it with "
            f"solver.resume({directory!r}), or daskmgrit solve … --checkpoint {shlex.quote(directory)} --resume"
        )


@contextmanager
def open_saver(
    policy: Checkpoint | None,
    saved: Saved | None,
    executor: Executor,
    w0: InitialState,
    solve: dict[str, Any],
) -> Iterator[Saver | None]:
    """Hold the directory of a solve's checkpoints; None where it saves none.

    Errors that end the solve say where to resume from.
    """
    if policy is None:
        yield None
        return
    saver = Saver(policy, w0, solve, saved)
    with claim(policy.directory, saved is not None, executor):
        try:
            # Another solve may have resumed since the checkpoint was looked at.
            if saved is not None and find(policy.directory) != saved.path:
                raise CheckpointError(f"another solve has resumed from {saved.path}")
            yield saver
        except CheckpointUnusable:
            raise
        except ClusterError as error:
            raise ClusterError(f"{error}; {saver.hint()}") from error
        except BaseException as error:
            error.add_note(saver.hint())
            raise
        finally:
            saver.close()


def _write(block: Block, path: str) -> dict[str, str]:
    return store.write(path, block.first, to_host(block.points[0]))


def _merge(parts: Sequence[dict[str, str]]) -> dict[str, str]:
    return {name: checksum for part in parts for name, checksum in part.items()}


def _read(
    phi: Phi,
    w0: Array | Origin,
    path: str,
    chunk: tuple[int, int],
    checksums: dict[str, str],
    span: Span,
    cycle: int,
    depth: int,
    c_points: bool,
    report: bool,
) -> Block:
    """Make a chunk of level 0 from the C-points in a checkpoint, as phi takes them."""
    rows = np.ascontiguousarray(store.read(path, span.first, span.last, chunk, checksums))
    rows = move_like(rows, as_block(phi, w0))
    if c_points:
        return c_point_kernels.restore(phi, rows, span, depth)
    return chunk_kernels.restore(phi, rows, span, cycle, depth, report)
