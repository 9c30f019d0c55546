"""Pieces of HTML. Text is escaped here and nowhere else; colours are the page's own, so dark pages read as well."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Markup", "bar", "block", "fields", "fold", "short_name", "side_by_side", "table"]

_CELL = "text-align:{};padding:2px 12px 2px 0;vertical-align:top;border:none;{}"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: object) -> str:
    """Return a value's text as HTML.

    Examples
    --------
    >>> escaped("a < b"), escaped(Markup("<b>c</b>"))
    ('a &lt; b', '<b>c</b>')
    """
    return text if isinstance(text, Markup) else html.escape(str(text))


def _cell(value: object, tag: str = "td", align: str = "left", wrap: bool = False) -> str:
    style = _CELL.format(align, "max-width:24em" if wrap else "white-space:nowrap")
    return f'<{tag} style="{style}">{escaped(value)}</{tag}>'


# Of what has failed, on white and on black pages; the mark says it too, so that colour is not all there is.
_FAILED = "border-left:4px solid #D55E00;padding-left:10px"
_MARK = '<span style="background:#D55E00;color:#fff;padding:1px 6px;margin-right:6px">\u2717 {}</span>'


def block(title: str, *parts: Markup, failed: str = "") -> Markup:
    """Return parts under a title, marked by the word `failed` if it is given."""
    style = f' style="{_FAILED}"' if failed else ""
    mark = _MARK.format(escaped(failed)) if failed else ""
    return Markup(f"<div{style}><p>{mark}<strong>{escaped(title)}</strong></p>{''.join(parts)}</div>")


def fields(rows: Iterable[tuple[str, object]]) -> Markup:
    """Return a table of names and values."""
    body = "".join(f"<tr>{_cell(name, 'th')}{_cell(value, wrap=True)}</tr>" for name, value in rows)
    return Markup(f'<table style="border:none;margin:0">{body}</table>')


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], left: Sequence[int] = ()) -> Markup:
    """Return a table; columns are aligned right, except those in `left`."""
    sides = ["left" if number in left else "right" for number in range(len(headings))]
    head = "".join(_cell(name, "th", side) for name, side in zip(headings, sides, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(value, align=side) for value, side in zip(row, sides, strict=True)) + "</tr>"
        for row in rows
    )
    return Markup(f'<table style="border:none;margin:0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def bar(share: float) -> Markup:
    """Return a bar of a share of 8 em."""
    width = f"width:{8 * min(max(share, 0.0), 1.0):.2f}em"
    return Markup(
        f'<div style="{width};min-width:1px;height:0.7em;margin-top:0.3em;background:currentColor;opacity:0.45"></div>'
    )


def fold(summary: str, content: Markup) -> Markup:
    """Return content that opens at a click."""
    return Markup(f"<details><summary>{escaped(summary)}</summary>{content}</details>")


def side_by_side(*parts: Markup) -> Markup:
    """Return parts in a row, or below each other if the row is too wide."""
    cells = "".join(f"<div>{part}</div>" for part in parts)
    return Markup(f'<div style="display:flex;flex-wrap:wrap;gap:0.5em 2em;align-items:flex-start">{cells}</div>')


def short_name(phi: Any) -> str:
    """Return a short name: a class's, or a function's."""
    return str(getattr(phi, "__qualname__", type(phi).__name__))
