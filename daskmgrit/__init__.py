"""daskmgrit: train neural networks in parallel over the training steps, by multigrid reduction in time on Dask."""

from importlib.metadata import PackageNotFoundError, version

from daskmgrit import coarse
from daskmgrit.checkpoint import Checkpoint
from daskmgrit.coarse import estimate_max_rate
from daskmgrit.config import set_defaults
from daskmgrit.errors import CheckpointError, ClusterError, CommandError, Diverged, PropagatorError
from daskmgrit.mgrit import MGRIT
from daskmgrit.propagators import check_propagator, from_command, from_estimator, from_function, vectorize
from daskmgrit.result import Result
from daskmgrit.serial import train_serially
from daskmgrit.settled import Settled

# After MGRIT, which it is made of.
from daskmgrit import tune  # isort: skip

try:
    __version__ = version("daskmgrit")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"

set_defaults()

__all__ = [
    "MGRIT",
    "Checkpoint",
    "CheckpointError",
    "ClusterError",
    "CommandError",
    "Diverged",
    "PropagatorError",
    "Result",
    "Settled",
    "__version__",
    "check_propagator",
    "coarse",
    "estimate_max_rate",
    "from_command",
    "from_estimator",
    "from_function",
    "train_serially",
    "tune",
    "vectorize",
]
