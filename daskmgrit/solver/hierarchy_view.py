"""The hierarchy in a notebook."""

from __future__ import annotations

from typing import Any

from daskmgrit.display.html import Markup, bar, block, fields, fold, short_name, side_by_side, table
from daskmgrit.multigrid.hierarchy import Hierarchy

__all__ = ["hierarchy_view"]


def hierarchy_view(hierarchy: Hierarchy, phi: Any) -> Markup:
    """Return the table of levels, the options and the propagator."""
    rows = []
    for number, level in enumerate(hierarchy.levels):
        how = (
            ("", "serial", "")
            if number == hierarchy.last
            else (level.coarsening, level.relaxation, f"{level.weight:g}")
        )
        rows.append((number, level.steps, bar(level.steps / hierarchy[0].steps), *how))
    total = sum(hierarchy.steps) / hierarchy[0].steps
    return block(
        f"MGRIT, {hierarchy.cycle}-cycle on {len(hierarchy)} levels",
        side_by_side(
            table(("level", "steps", "", "m", "relaxation", "weight"), rows, left=(2, 4)),
            fields(
                [
                    ("training steps", hierarchy[0].steps),
                    ("step complexity", f"{total:.2f}: steps of all levels over those of level 0"),
                    ("phi", short_name(phi)),
                ]
            ),
        ),
        _inner(phi),
    )


def _inner(phi: Any) -> Markup:
    """Return the propagator's own view, folded, if it has one."""
    view = getattr(phi, "_repr_html_", None)
    text = view() if callable(view) and not isinstance(phi, type) else None
    return fold(f"phi: {short_name(phi)}", Markup(text)) if isinstance(text, str) else Markup()
