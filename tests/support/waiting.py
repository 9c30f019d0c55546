"""Waiting for a condition, with a bound."""

import time


def wait_for(condition, what=None, seconds=60):
    """Wait until a condition holds; returns its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what or condition}"
        time.sleep(0.02)
    return value
