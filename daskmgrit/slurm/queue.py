"""The user's jobs as reported by SLURM's own commands."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["JobEntry", "QueueError", "ask_slurm", "own_jobs", "post_mortem"]

# A command that takes longer is given up: the controller does not answer.
PATIENCE = 60.0


class QueueError(RuntimeError):
    """A SLURM command failed."""


@dataclass(frozen=True)
class JobEntry:
    """A job in the queue: its state, e.g. ``"PENDING"``, and SLURM's reason for it."""

    state: str
    reason: str

    def __str__(self) -> str:
        return self.state if self.reason in ("None", "") else f"{self.state} ({self.reason})"


async def ask_slurm(*command: str) -> str:
    """Run a SLURM command, without a shell, and return what it prints.

    Raises
    ------
    QueueError
        If the command is not installed, fails, or takes too long.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise QueueError(f"{command[0]} cannot be run: {error}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise QueueError(f"{command[0]} gave no answer within {PATIENCE:g} s") from None
    if process.returncode:
        raise QueueError(f"{command[0]} failed: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


async def own_jobs() -> dict[str, JobEntry]:
    """Return the user's jobs that are not over, by number.

    Raises
    ------
    QueueError
        If squeue fails.
    """
    entries = {}
    for line in (await ask_slurm("squeue", "--me", "--noheader", "--format=%i|%T|%r")).splitlines():
        number, state, reason = line.strip().split("|", 2)
        if state != "COMPLETING":
            entries[number] = JobEntry(state, reason)
    return entries


async def post_mortem(number: str) -> str:
    """Return the end of a job, with the last lines of its log, as far as SLURM still knows."""
    try:
        shown = await ask_slurm("scontrol", "show", "job", "--oneliner", number)
    except QueueError:
        return f"job {number} is gone"
    fields = dict(re.findall(r"(JobState|Reason|ExitCode|StdErr)=(\S+)", shown))
    text = f"job {number} ended as {fields.get('JobState', 'unknown')}"
    if fields.get("Reason", "None") != "None":
        text += f" ({fields['Reason']})"
    text += f" with exit code {fields.get('ExitCode', 'unknown')}"
    log = Path(fields.get("StdErr", ""))
    if log.is_file():
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            text += f"; the end of its log {log}:\n  " + "\n  ".join(lines[-5:])
    return text
