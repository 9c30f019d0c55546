"""The residual against the cycle or sweep as inline SVG, without any package, so that a notebook needs none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from daskmgrit.display.html import Markup

__all__ = ["residual_svg"]

WIDTH, HEIGHT = 380, 230
POINTS = 150  # that there is room for
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 40


def ticks(least: int, most: int, number: int) -> list[int]:
    """Return round integers from `least` to `most`, evenly spaced, about `number` at most.

    Examples
    --------
    >>> ticks(0, 7, 10), ticks(0, 50, 6), ticks(-9, 1, 6)
    ([0, 1, 2, 3, 4, 5, 6, 7], [0, 10, 20, 30, 40, 50], [-8, -6, -4, -2, 0])
    """
    sizes = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    size = next(size for size in sizes if most - least <= size * number)
    return list(range(-(-least // size) * size, most + 1, size))


def residual_svg(residuals: Sequence[float], tol: float, of: str = "cycle") -> Markup:
    """Draw the residuals on a log axis, with the tolerance; a point's title tells its value.

    Parameters
    ----------
    residuals : sequence of float
        One for the initial guess and one for each cycle. Values that are not finite are left out; an exact zero, which
        has no place on a log axis, is a triangle at the bottom.
    tol : float
        The tolerance; 0 is not drawn.
    of : {"cycle", "sweep"}, default "cycle"
        Unit of the residuals. Sweeps count from 1; if there are many, each point is the largest of several.
    """
    begin, several = int(of == "sweep"), 1
    if of == "sweep":
        several = max(math.ceil(len(residuals) / POINTS), 1)
        residuals = [max(residuals[k : k + several]) for k in range(0, len(residuals), several)]
    values = [value for value in (*residuals, tol) if value > 0 and math.isfinite(value)]
    if not values:
        values = [1.0]
    low, high = math.floor(math.log10(min(values)) - 0.1), math.ceil(math.log10(max(values)) + 0.1)
    last = max(len(residuals) - 1, 1)

    def across(cycle: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (cycle + 0.3) / (last + 0.6)

    def number(cycle: int) -> int:
        return cycle * several + begin

    def down(exponent: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - exponent) / (high - low)

    parts = []
    for exponent in ticks(low, high, 7):
        y = down(exponent)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, 'opacity="0.15"'))
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">10<tspan dy="-5" font-size="8">{exponent}</tspan>'
            "</text>"
        )
    for tick in ticks(begin, max(number(len(residuals) - 1), begin), 10):
        x = across((tick - begin) / several)
        parts.append(_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick}</text>')
    parts.append(
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" fill="none" '
        'stroke="currentColor" opacity="0.6"/>'
    )
    if tol > 0:
        y = down(math.log10(tol))
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, 'stroke-dasharray="6 4"'))
        parts.append(f'<text x="{LEFT + 5}" y="{y - 4:.1f}">tolerance {tol:.1e}</text>')
    points = []
    for cycle, value in enumerate(residuals):
        words = _told(residuals, cycle) if of == "cycle" else f"sweep {number(cycle)}: {value:.3e}"
        title = f"<title>{words}</title>"
        x = across(cycle)
        if value == 0:
            y = HEIGHT - BOTTOM - 10
            parts.append(f'<path d="M{x - 4:.1f} {y} h8 l-4 8 z" fill="currentColor">{title}</path>')
        elif math.isfinite(value):
            y = down(math.log10(value))
            points.append(f"{x:.1f},{y:.1f}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="currentColor">{title}</circle>')
    parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="currentColor" stroke-width="1.5"/>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{of}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">residual, 2-norm</text>')
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="residual of each {of}" font-size="11" font-family="sans-serif" '
        f'style="max-width:100%" fill="currentColor">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" {more}/>'


def _told(residuals: Sequence[float], cycle: int) -> str:
    """Return a point's cycle, residual and factor as text."""
    if cycle == 0:
        return f"initial guess: {residuals[0]:.3e}"
    before = residuals[cycle - 1]
    factor = f", factor {residuals[cycle] / before:.3f}" if before > 0 and math.isfinite(before) else ""
    return f"cycle {cycle}: {residuals[cycle]:.3e}{factor}"
