"""Measurements as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.frameworks import BLOCKS

__all__ = ["text"]


def text(report: dict[str, Any]) -> str:
    """Return all tables of a report, with the environment of the measurement."""
    parts = [f"{writer(report[name])}\n" for name, writer in WRITERS.items() if name in report]
    return "\n".join([*parts, _environment(report["environment"])])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _peers(rows: list[dict[str, Any]]) -> str:
    head = ("N", "cycle", "iterations", "largest difference", "PyMGRIT / ours", "ours / serial loop", "ours / Phi loop")
    table = _table(
        head,
        [
            (
                row["steps"],
                row["cycle"],
                row["iterations"][0] if row["histories_agree"] else " and ".join(map(str, row["iterations"])),
                f"{row['history_difference']:.1e}" + ("" if row["histories_agree"] else " (histories differ)"),
                f"{row['ratio_to_pymgrit']:.1f}",
                f"{row['ratio_to_serial']:.1f}",
                f"{row['ratio_to_phi_loop']:.2f}",
            )
            for row in rows
        ],
    )
    return (
        f"{table}\n\nProcessor seconds, the minimum of several runs. Differences are of entries of the residual "
        "history. The serial loop is written by hand for one state; the Phi loop is `train_serially` with this "
        "package's Phi."
    )


def _one_core(rows: list[dict[str, Any]]) -> str:
    table = _table(
        ("N", "cycles", "Phi per step", "ours / serial loop", "ours / short MGRIT"),
        [
            (
                row["steps"],
                row["iterations"],
                f"{row['phi_per_step']:.0f}",
                f"{row['ratio_to_serial']:.2f}",
                f"{row['ratio_to_lean']:.2f}",
            )
            for row in rows
        ],
    )
    return (
        f"{table}\n\nXOR by Solver 4, V-cycles, m = 4, on one core; processor seconds, the minimum of several runs. "
        "The serial loop is written by hand for one state; the short MGRIT is the same algorithm with the same Phi in "
        "some lines of NumPy, without chunks, checks and records (`benchmarks/lean.py`)."
    )


def _overhead(report: dict[str, Any]) -> str:
    sizes = _table(
        (
            "weights",
            "tasks per cycle",
            "kB between workers per cycle",
            "time / empty tasks",
            "neighbours",
            "processor time / empty tasks",
            "per task",
        ),
        [
            (
                row["weights"],
                f"{row['tasks_per_cycle']:.0f}",
                f"{row['bytes_per_cycle'] / 1e3:.0f}",
                f"{row['ratio']:.2f}",
                f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}",
                f"{row['processor_ratio']:.2f}",
                f"{row['milliseconds_per_task']:.1f} ms",
            )
            for row in report["sizes"]
        ],
    )
    shares = _table(
        ("Phi of a call", "share of the cycles' time inside Phi", "share of the chain of Phi"),
        [
            (f"{1e3 * row['phi_seconds']:g} ms", f"{row['share']:.0%}", f"{row['path_share']:.0%}")
            for row in report["shares"]
        ],
    )
    return (
        f"{report['cycles']} cycles of {report['steps']} steps on {report['workers']} worker processes, every level in "
        f"tasks of its own. Time outside Phi, over that of the same number of empty tasks in the same shape: minimum "
        f"of {len(report['sizes'][0]['ratios'])} each; processor time is that of all processes.\n\n{sizes}\n\n{shares}"
    )


def _scaling(report: dict[str, Any]) -> str:
    head = (
        "N", "P", "processes", "Phi", "iterations", "measured", "serial", "speedup", "/ critical path", "/ bound",
        "/ plan",
    )  # fmt: skip
    table = _table(
        head,
        [
            (
                row["steps"],
                row["workers"],
                row["processes"],
                f"{1e3 * row['seconds']:g} ms",
                row["iterations"],
                f"{row['measured_seconds']:.1f} s",
                f"{row['serial_seconds']:.1f} s",
                f"{row['speedup']:.2f}",
                f"{row['ratio_to_path']:.2f}",
                f"{row['ratio_to_bound']:.2f}",
                f"{row['ratio_to_plan']:.2f}",
            )
            for row in report["runs"]
        ],
    )
    return (
        f"{table}\n\nThe {report['problem']}, Solver {report['solver']}, coarsening "
        f"{', '.join(map(str, report['coarsening']))}. Serial time is extrapolated from {report['serial_sample']} "
        "timed steps. The last columns are measured seconds over those of the critical path (an F-interval per "
        "thread), of the bound for P threads (all Phi shared out evenly, or the critical path if that is longer), and "
        "of the plan."
    )


def _scale(report: dict[str, Any]) -> str:
    messages = _table(
        ("workers", "tasks", "messages per task", "scheduler per task", "its loop is busy", "tasks per second"),
        [
            (
                row["workers"],
                row["shape"],
                f"{row['messages_per_task']:.1f}",
                f"{1e3 * row['scheduler_per_task']:.2f} ms",
                f"{row['scheduler_busy']:.0%}",
                f"{row['tasks_per_second']:.0f}",
            )
            for row in report["messages"]
        ],
    )
    waiting = _table(
        ("workers", "Phi", "tasks per second", "a cycle", "replayed", "with a core for each worker", "critical path"),
        [
            (
                row["workers"],
                f"{1e3 * row['phi_seconds']:g} ms",
                f"{row['tasks_per_second']:.0f}",
                *(f"{row[f'{name}_seconds']:.2f} s" for name in ("cycle", "these_cores", "own_cores", "path")),
            )
            for row in report["waiting"]
        ],
    )
    large = report["large"]
    return (
        "Single-threaded workers in two processes, without nannies and monitors. Messages are those between scheduler "
        "and workers, each with all that there is to say at its time. A solve has an F-interval of "
        f"{report['coarsening'][0]} steps for each worker, every level in tasks of its own, and {report['cycles']} "
        f"cycles; fewer with more than {report['few']} workers.\n\n{messages}\n\n{waiting}\n\n"
        f"{large['steps']} steps in {large['chunks']} chunks on two workers, m = 16, two cycles: {large['tasks']} "
        f"tasks. The client takes {1e6 * large['client_per_task']:.0f} µs a task, the scheduler "
        f"{1e3 * large['scheduler_per_task']:.2f} ms, the workers {1e3 * large['workers_per_task']:.2f} ms; a cycle "
        f"takes {large['cycle_seconds']:.1f} s."
    )


def _newton(report: dict[str, Any]) -> str:
    head = (
        "N",
        "P",
        "processes",
        "gradient",
        "sweeps",
        "N / sweeps",
        "Phi / N",
        "measured",
        "speedup",
        "share",
        "bare threads",
        "error",
    )
    table = _table(
        head,
        [
            (
                row["steps"],
                row["slots"],
                row["processes"],
                f"{1e3 * row['seconds']:g} ms",
                row["sweeps"],
                f"{row['allowed']:.2f}",
                f"{row['work']:.1f}",
                f"{row['measured_seconds']:.1f} s",
                f"{row['speedup']:.2f}",
                f"{row['share']:.0%}",
                f"{row['bare_share']:.0%}" if row["bare_share"] else "-",
                f"{row['error']:.0e}",
            )
            for row in report["runs"]
        ],
    )
    return (
        f"{table}\n\nParallel Newton, {report['problem']} with {report['optimizer']}, a window of P slots, tolerance "
        "1e-6 per step. Speedup is over the serial loop, of which some steps are timed; the share is that of N / "
        "sweeps which sweeps reach, without the start of the solve, and that which a round of gradients alone reaches "
        "on a bare pool of threads. The error is the largest difference to serial training's final state."
    )


def _memory(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("N", "weights", "m", "storage", "iterations", "all states", "held per step", "peak", "in files", "seconds"),
        [
            (
                row["steps"],
                row["weights"],
                row["m"],
                row["storage"],
                row["iterations"],
                _size(row["all_states"]),
                f"{row['held_per_step'] / row['state_bytes']:.3f} states",
                _size(row["peak"]),
                _size(row["files"]),
                f"{row['seconds']:.0f}",
            )
            for row in rows
        ],
    )


def _listening(report: dict[str, Any]) -> str:
    ratios = statistics.quantiles(report["ratios"], n=4) if len(report["ratios"]) > 1 else report["ratios"] * 3
    table = _table(
        ("hook", "calls per task", "µs per task", "µs per task, calls x median"),
        [
            (
                f"`{row['hook']}`",
                f"{row['calls_per_task']:.2f}",
                f"{1e6 * row['seconds_per_task']:.1f}",
                f"{1e6 * row['typical_per_task']:.1f}",
            )
            for row in report["hooks"]
        ],
    )
    return (
        f"{table}\n\n{report['tasks']} tasks a solve, {report['pairs']} pairs of solves: with listening over without "
        f"{ratios[1]:.2f} (quartiles {ratios[0]:.2f}, {ratios[2]:.2f}). A task takes "
        f"{1e6 * report['wall_per_task']:.0f} µs of the solve; all hooks take {report['share']:.2%} of it, by their "
        f"medians {report['typical_share']:.2%}."
    )


def _newton_counts(rows: list[dict[str, Any]]) -> str:
    head = (
        "problem", "N", "optimizer", "method, window", "seed", "per step", "sweeps", "N / path", "with scans",
        "Phi / N", "error estimate", "error", "as expected",
    )  # fmt: skip
    table = _table(
        head,
        [
            (
                row["problem"],
                row["steps"],
                row["optimizer"],
                row["method"],
                row["seed"],
                f"{row['per_step']:.0e}",
                row["sweeps"],
                f"{row['speedup']:.2f}",
                f"{row['strict_speedup']:.2f}",
                f"{row['work']:.1f}",
                f"{row['error_estimate']:.0e}",
                f"{row['error']:.0e}",
                {None: "-", True: "yes", False: "NO"}[row["as_expected"]],
            )
            for row in rows
        ],
    )
    return (
        f"{table}\n\nThe path is the longest chain of Phi; with scans, a Phi is charged for each doubling of a scan. "
        "The 2-norm of the residual over all steps is at most sqrt(N) times what a step is allowed. Errors are "
        "2-norms, of the final state."
    )


def _frameworks(rows: list[dict[str, Any]]) -> str:
    table = _table(
        ("net", "framework", "own step, us", "states", "call over own step", "per state over own step", "by hand"),
        [
            (
                row["net"],
                row["framework"],
                f"{row['step']:.0f}",
                count,
                f"{row[f'call_{count}'] / row['step']:.2f}",
                f"{row[f'call_{count}'] / row['step'] / count:.3f}",
                f"{row[f'call_{count}'] / row[f'hand_{count}']:.2f}" if f"hand_{count}" in row else "-",
            )
            for row in rows
            for count in BLOCKS
        ],
    )
    return (
        f"{table}\n\nGradient descent, double precision, one thread, processor time. By hand: a call over the same "
        "steps with all products batched by hand, in PyTorch."
    )


def _timed_nets(rows: list[dict[str, Any]]) -> str:
    head = (
        "net", "N", "step, ms", "P", "loop, s", "loop on P threads, s", "sweeps", "N / sweeps", "Newton, s", "speedup",
        "error",
    )  # fmt: skip
    table = _table(
        head,
        [
            (
                row["net"],
                row["steps"],
                f"{1e3 * row['step_seconds']:.0f}",
                row["threads"],
                f"{row['serial_seconds']:.2f}",
                f"{row['inside_seconds']:.2f}",
                row["sweeps"],
                f"{row['allowed']:.2f}",
                f"{row['newton_seconds']:.2f}",
                f"{row['speedup']:.2f}",
                f"{row['error']:.0e}",
            )
            for row in rows
        ],
    )
    return (
        f"{table}\n\nAdam, double precision, tolerance 1e-6 per step. The loop is PyTorch's own, on one thread and "
        "with P threads for each operation; parallel Newton has P slots on P threads. Speedup is against one thread."
    )


def _newton_nets(rows: list[dict[str, Any]]) -> str:
    head = (
        "net", "weights", "optimizer", "rate", "seed", "N", "window", "sweeps", "N / sweeps", "by corrections",
        "aim", "Phi / N", "error estimate", "error",
    )  # fmt: skip
    table = _table(
        head,
        [
            (
                row["net"],
                row["weights"],
                row["optimizer"],
                f"{row['rate']:g}",
                row["seed"],
                row["steps"],
                row["window"],
                row["sweeps"],
                f"{row['accepted']:.2f}",
                f"{row['by_corrections']:.2f}",
                f"{row['aim']:.2f}" if row["aim"] else "-",
                f"{row['work']:.1f}",
                f"{row['error_estimate']:.0e}",
                f"{row['error']:.0e}",
            )
            for row in rows
        ],
    )
    return (
        f"{table}\n\nDouble precision, identity, tolerance 1e-6 per step. N / sweeps is the speedup on as many workers "
        "as the window has slots if gradients are all that costs. By corrections: that of Picard iteration on the same "
        "net if it accepts states, moments included, which it moves by at most 1e-6. Aims are from other nets of these "
        "kinds. Errors are 2-norms, of final states."
    )


def _size(count: float) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def _environment(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"Measured on {found['date']}, {found['cores']} cores ({found['machine']}) with a load of {found['load']} when "
        f"done; Python {found['python']}, {versions}."
    )


WRITERS = {
    "peers": _peers,
    "one_core": _one_core,
    "overhead": _overhead,
    "scaling": _scaling,
    "scale": _scale,
    "newton": _newton,
    "memory": _memory,
    "listening": _listening,
    "newton_counts": _newton_counts,
    "newton_nets": _newton_nets,
    "timed_nets": _timed_nets,
    "frameworks": _frameworks,
}
