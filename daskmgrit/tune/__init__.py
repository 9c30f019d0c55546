"""Tuning: measures a small grid of settings on a short prefix of a training run, and predicts the best."""

from daskmgrit.tune.path import critical_path, predicted_path
from daskmgrit.tune.search import Trial, TuneReport, tune
from daskmgrit.tune.settings import Settings, default_grid, rated
from daskmgrit.tune.windows import WindowReport, WindowTrial, tune_window

__all__ = [
    "Settings",
    "Trial",
    "TuneReport",
    "WindowReport",
    "WindowTrial",
    "critical_path",
    "default_grid",
    "predicted_path",
    "rated",
    "tune",
    "tune_window",
]
