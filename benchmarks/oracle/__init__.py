"""A replay of every task of a solve: the reference for the prediction of ``daskmgrit plan``, stage by stage."""

from benchmarks.oracle.replay import Replay, replay
from benchmarks.oracle.trace import Submitted, Trace, trace

__all__ = ["Replay", "Submitted", "Trace", "replay", "trace"]
