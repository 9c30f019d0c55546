"""The kinds of work in a cycle with their colours and hatches, which are distinct in print and for all eyes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ACCEPTED", "KINDS", "METHODS", "WINDOW", "Kind", "kind_of"]


class Kind(NamedTuple):
    """A kind of work.

    Attributes
    ----------
    name : str
        Its name.
    stages : tuple of str
        The stages (``Record.kind``) of this kind.
    colour : str
        Its colour. They are of the palette of Okabe and Ito, which colour-blind readers can tell apart.
    hatch : str
        Its hatch, in matplotlib's notation, for print in black and white.
    """

    name: str
    stages: tuple[str, ...]
    colour: str
    hatch: str


KINDS = (
    Kind("F-relaxation", ("F-relaxation",), "#0072B2", ""),
    Kind("C-relaxation", ("C-relaxation",), "#56B4E9", "///"),
    Kind("residual, restriction", ("residual", "coarse step"), "#E69F00", "\\\\\\"),
    Kind("coarse solve", ("coarse solve",), "#D55E00", "..."),
    Kind("correction", ("correction",), "#009E73", "xxx"),
    Kind("initial guess", ("initial residual",), "#CC79A7", "---"),
)

# Of parallel Newton: the window of a sweep, and the steps that it accepted.
WINDOW, ACCEPTED = "#56B4E9", "#009E73"

# Of each method: its colour and its marker, in matplotlib's notation; both can be read on white and on black.
METHODS = {"MGRIT": ("#D55E00", "o"), "parallel Newton": ("#009E73", "s")}

_BY_STAGE = {stage: kind for kind in KINDS for stage in kind.stages}


def kind_of(stage: str) -> Kind:
    """Return the kind of a stage, by the name that its record has.

    Examples
    --------
    >>> kind_of("coarse step").name
    'residual, restriction'
    """
    return _BY_STAGE[stage]
