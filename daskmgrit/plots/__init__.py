"""Pictures of a solver and of a result, drawn with matplotlib, which is imported when one is asked for."""

from daskmgrit.plots.hierarchy import plot_solver
from daskmgrit.plots.residuals import plot_residuals
from daskmgrit.plots.traversal import plot_traversal

__all__ = ["plot_residuals", "plot_solver", "plot_traversal"]
