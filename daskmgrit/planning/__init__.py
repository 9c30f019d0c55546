"""Predictions of time and memory for all ways to solve: whether a parallel solve pays on a cluster."""

from daskmgrit.planning.ask import plan
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.outcome import AtWorkers, PlanResult
from daskmgrit.planning.predict import Prediction, predict
from daskmgrit.planning.search import Planner
from daskmgrit.planning.setting import Plan

__all__ = ["AtWorkers", "Machine", "PhiCost", "Plan", "PlanResult", "Planner", "Prediction", "plan", "predict"]
