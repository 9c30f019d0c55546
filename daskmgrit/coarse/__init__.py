"""Coarse steps: methods for a step that stands for many fine ones, and the data that it sees."""

from daskmgrit.coarse.chebyshev import chebyshev_stages, chebyshev_step, published_bound, stability_bound
from daskmgrit.coarse.curvatures import Curvatures, find_curvatures
from daskmgrit.coarse.deflated import deflated_step
from daskmgrit.coarse.estimate import RateEstimate, estimate_max_rate
from daskmgrit.coarse.exponential import exponential_step
from daskmgrit.coarse.fine import from_fine
from daskmgrit.coarse.rule import METHODS, CoarseRule
from daskmgrit.coarse.stabilise import stabilise
from daskmgrit.coarse.substeps import substep_count, substeps
from daskmgrit.coarse.window import window_steps

__all__ = [
    "METHODS",
    "CoarseRule",
    "Curvatures",
    "RateEstimate",
    "chebyshev_stages",
    "chebyshev_step",
    "deflated_step",
    "estimate_max_rate",
    "exponential_step",
    "find_curvatures",
    "from_fine",
    "published_bound",
    "stabilise",
    "stability_bound",
    "substep_count",
    "substeps",
    "window_steps",
]
