"""Checkpoints: what a solve needs to go on in another process, on another cluster."""

from daskmgrit.checkpoint.policy import Checkpoint

__all__ = ["Checkpoint"]
