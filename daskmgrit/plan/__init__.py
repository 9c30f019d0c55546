"""Will MGRIT pay on a cluster? Predictions from a replay of the task graph."""

from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.replay import Replay, replay
from daskmgrit.plan.search import Planner
from daskmgrit.plan.setting import Plan
from daskmgrit.plan.trace import Trace, trace
from daskmgrit.plan.waves import Prediction, predict

__all__ = ["Machine", "PhiCost", "Plan", "Planner", "Prediction", "Replay", "Trace", "predict", "replay", "trace"]
