"""Checkpoints: what a solve needs to resume in another process, on another cluster."""

from daskmgrit.checkpoint.policy import Checkpoint

__all__ = ["Checkpoint"]
