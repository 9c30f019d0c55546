"""Will MGRIT pay on a cluster? Predictions of time and memory for all ways to solve."""

from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.predict import Prediction, predict
from daskmgrit.planning.search import Planner
from daskmgrit.planning.setting import Plan

__all__ = ["Machine", "PhiCost", "Plan", "Planner", "Prediction", "predict"]
