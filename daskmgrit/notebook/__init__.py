"""What a notebook shows: solver, result and propagator as HTML. All of it works without matplotlib and Jupyter."""

from daskmgrit.notebook.views import descent_view, function_view, result_view, solver_view

__all__ = ["descent_view", "function_view", "result_view", "solver_view"]
