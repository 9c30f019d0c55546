"""Checkpoints: files from which a solve resumes in another process, on another cluster."""

from daskmgrit.checkpoint.policy import Checkpoint

__all__ = ["Checkpoint"]
