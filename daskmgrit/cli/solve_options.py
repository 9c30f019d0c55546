"""The options of ``daskmgrit solve``, in the groups of its help."""

from __future__ import annotations

from pathlib import Path

import click

from daskmgrit.cli.options import AS_JSON, W0, method, optimizer
from daskmgrit.cli.values import CHUNKS, CYCLE, RATE, RELAXATION, SEED, SLOTS, STEPS, TOLERANCE, WAIT, PerLevel
from daskmgrit.newton.settings import JACOBIANS
from daskmgrit.problems import COARSE_DATA, SOLVERS

__all__ = ["GROUPS", "OF_MGRIT", "OF_NEWTON"]

_PROBLEM = [
    click.Option(["--steps"], type=STEPS, help="N, the number of training steps; by default PROBLEM's own."),
    W0,
    click.Option(["--seed"], type=SEED, default=1, show_default=True, help="Seed of initial weights and data order."),
    click.Option(
        ["--dtype"],
        type=click.Choice(["float64", "float32"]),
        default="float64",
        show_default=True,
        help="Dtype of weights and data.",
    ),
    method("mgrit: multigrid over all steps; newton: parallel Newton over a sliding window of steps."),
    click.Option(
        ["--tol"],
        type=TOLERANCE,
        help="Absolute tolerance of the residual; 0: never stop early.  [default: 1e-9*sqrt(N), in float32 "
        "1e-5*sqrt(N)]",
    ),
]

_TRAINING = [
    click.Option(
        ["--solver"],
        type=click.Choice(list(SOLVERS)),
        help="; ".join(f"{name}: {text}" for name, text in SOLVERS.items()) + ". By default the problem's own.",
    ),
    click.Option(["--learning-rate"], type=RATE, help="alpha_b, the rate of level 0."),
    click.Option(
        ["--max-learning-rate"],
        type=RATE,
        help="alpha_max, the largest stable rate: the cap on coarse levels, or with --coarse the longest stage.",
    ),
    click.Option(
        ["--coarse"],
        type=PerLevel(str, single=True),
        help="Coarse steps beyond alpha_max: capped [default of Solvers 1-3], substeps, chebyshev [4], exponential "
        "(nets of some tens of weights), deflated (the --rank largest curvatures); a list: per level.",
    ),
    click.Option(
        ["--data"],
        type=click.Choice(list(COARSE_DATA)),
        help="Serialized data that coarse steps see: step [default of Solvers 2 and 3], window [4], injected, "
        "averaged.",
    ),
    click.Option(
        ["--max-stages"], type=click.IntRange(min=1), help="Maximum number of stages; longer steps are cut short."
    ),
    click.Option(["--window"], type=click.IntRange(min=1), help="B, the maximum number of fine steps of a window."),
    click.Option(["--batch"], type=click.IntRange(min=1), help="Examples per step of Solvers 2 and 3."),
]

_MGRIT = [
    click.Option(["--cycle"], type=CYCLE, default="V", show_default=True),
    click.Option(["--max-levels"], type=int, help="Maximum number of levels; 2 is the two-level method."),
    click.Option(
        ["--min-coarse"], type=int, help="Coarsen while the coarsest level has more steps than this [default: 10]."
    ),
    click.Option(
        ["--coarsening"], type=PerLevel(int, single=True), help="Factor m; a comma list: per level [default: 2]."
    ),
    click.Option(
        ["--relaxation"],
        type=RELAXATION,
        help="F, FCF, FCFCF … or nu of F(CF)^nu; a comma list: per level [default: FCF].",
    ),
    click.Option(
        ["--weight"],
        default="1.0",
        show_default=True,
        type=PerLevel(float, single=True),
        help="Weight of the C-relaxation; a comma list: per level.",
    ),
    click.Option(
        ["--initial-guess"],
        type=click.Choice(["zero", "constant", "nested"]),
        help="Default: the problem's own.",
    ),
    click.Option(
        ["--maxiter"], type=click.IntRange(min=0), default=50, show_default=True, help="Maximum number of cycles."
    ),
    click.Option(["--chunks"], default="auto", show_default=True, type=CHUNKS, help="Chunks of level 0."),
    click.Option(
        ["--storage"],
        type=click.Choice(["full", "c-points"]),
        default="full",
        show_default=True,
        help="c-points: about 2/m of the memory.",
    ),
]

_NEWTON = [
    optimizer(),
    click.Option(["--slots"], type=SLOTS, help="Slots of the window.  [default: auto]"),
    click.Option(
        ["--jacobian"],
        type=click.Choice(["auto", *JACOBIANS]),
        help="Approximation of a step's Jacobian.  [default: auto]",
    ),
    click.Option(
        ["--rank"],
        type=click.IntRange(min=1),
        help="Rank of --jacobian lowrank; number of curvatures of --coarse deflated.  [default: 32]",
    ),
    click.Option(
        ["--interval"],
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Steps of a slot, one after another.",
    ),
]

_CLUSTER = [
    click.Option(["--scheduler"], metavar="ADDRESS", help="Solve on this Dask cluster, e.g. tcp://127.0.0.1:8786."),
    click.Option(
        ["--keys"], metavar="FOLDER", help="For a tls:// ADDRESS: the keys that `python -m daskmgrit.tls` made."
    ),
    click.Option(
        ["--workers"],
        type=click.IntRange(min=1),
        help="Number of worker processes to start on this machine, with --slurm in SLURM jobs.",
    ),
    click.Option(
        ["--threads"],
        type=click.IntRange(1, 1024),
        help="Threads of each of these workers, or of this process.  [default: 1, or one for each core]",
    ),
    click.Option(
        ["--slurm"],
        is_flag=True,
        help="Start workers as SLURM jobs, by jobqueue.slurm and daskmgrit.slurm in dask.config.",
    ),
    click.Option(
        ["--timeout"],
        type=WAIT,
        help="Maximum time to wait for workers: seconds, or e.g. 5min.  [default: 60s; with --slurm 1h]",
    ),
]

_CHECKPOINTS = [
    click.Option(
        ["--checkpoint"],
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Save checkpoints in this directory, which all workers share.",
    ),
    click.Option(
        ["--checkpoint-every"],
        type=click.IntRange(min=1),
        help="Save every N cycles, or sweeps of --method newton.  [default: 10; with newton by time alone]",
    ),
    click.Option(
        ["--checkpoint-minutes"],
        type=click.FloatRange(min=0),
        help="Save when the last checkpoint is this many minutes old.  [default: 10; with newton 1]",
    ),
    click.Option(["--resume"], is_flag=True, help="Resume from the checkpoint in DIR; begin if there is none yet."),
]

_OUTPUT = [
    click.Option(["--check"], is_flag=True, help="Compare with serial training."),
    AS_JSON,
    click.Option(
        ["--plot"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Plot the residuals; with --method newton, --check and a problem that has a loss, both trainings' losses.",
    ),
]

GROUPS = {
    "Problem": _PROBLEM,
    "Training, for xor, adder and digits": _TRAINING,
    "MGRIT (--method mgrit)": _MGRIT,
    "Parallel Newton (--method newton)": _NEWTON,
    "Where to solve": _CLUSTER,
    "Checkpoints": _CHECKPOINTS,
    "Output": _OUTPUT,
}

# Options that the other method does not have.
OF_MGRIT = tuple(str(option.name) for option in _MGRIT)
OF_NEWTON = tuple(str(option.name) for option in _NEWTON)
