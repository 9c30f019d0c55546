"""Will MGRIT pay on a cluster? Predictions of time and memory for all ways to solve."""

from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.predict import Prediction, predict
from daskmgrit.plan.search import Planner
from daskmgrit.plan.setting import Plan

__all__ = ["Machine", "PhiCost", "Plan", "Planner", "Prediction", "predict"]
