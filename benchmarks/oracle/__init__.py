"""A replay of every task of a solve: what the prediction of ``daskmgrit plan``, stage by stage, is compared with."""

from benchmarks.oracle.replay import Replay, replay
from benchmarks.oracle.trace import Submitted, Trace, trace

__all__ = ["Replay", "Submitted", "Trace", "replay", "trace"]
