"""Cycle counts that were measured."""


def close(found, measured):
    """Whether a number of cycles is the measured one, as far as rounding lets it be.

    A count is decided where a residual crosses the tolerance. Rounding differs from one processor to another, and may
    move a residual across: by one cycle, and by more where residuals grow before they fall.
    """
    return abs(found - measured) <= max(1, measured // 10)
