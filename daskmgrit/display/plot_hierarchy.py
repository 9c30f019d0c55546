"""The hierarchy with its C- and F-points, and the cycle, as the paper's Figures 3 and 5 show them."""

from __future__ import annotations

from typing import Any

from daskmgrit.display.axes import faint, foreground, legend_below, new_axes, paper
from daskmgrit.multigrid.cycle import run_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy

__all__ = ["plot_solver", "traversal"]

# Maximum number of points of level 0 that can be told apart; a hierarchy with more is shown to this step.
MOST_POINTS = 64


class _Visits:
    """The operations of a cycle, recorded instead of done: the levels that it visits, and its work there."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        self.stops: list[tuple[int, str]] = [(0, "F")]

    def relax(self, level: int, state: Any) -> Any:
        if self.hierarchy[level].nu:
            self.stops[-1] = (level, "CF")
        return state

    def restrict(self, level: int, state: Any) -> Any:
        self.stops.append((level + 1, "F"))
        return state

    def solve(self, level: int, state: Any, kind: str) -> Any:
        self.stops[-1] = (level, "solve")
        return state

    def correct(self, level: int, state: Any, coarse: Any) -> Any:
        self.stops.append((level, "F"))
        return state

    def ends_at(self, level: int) -> bool:
        return level == self.hierarchy.last

    def solve_coarsest(self) -> tuple[int, Any]:
        return self.hierarchy.last, None

    def interpolate(self, level: int, coarse: Any) -> Any:
        return coarse


def traversal(hierarchy: Hierarchy) -> list[tuple[int, str]]:
    """Return the levels in the order in which a cycle visits them, each with its work.

    ``"CF"``: relaxation with C-points, before going down; ``"F"``: F-relaxation only, after a correction or without
    C-relaxation; ``"solve"``: the serial solve of the coarsest level.

    Examples
    --------
    >>> from daskmgrit.multigrid.hierarchy import build_hierarchy
    >>> traversal(build_hierarchy(100, max_levels=3))
    [(0, 'CF'), (1, 'CF'), (2, 'solve'), (1, 'F'), (0, 'F')]
    """
    visits = _Visits(hierarchy)
    run_cycle(visits, 0, hierarchy.cycle, None)
    return visits.stops


def plot_solver(hierarchy: Hierarchy, axes: Any = None) -> Any:
    """Draw a hierarchy and its cycle, see :meth:`daskmgrit.MGRIT.plot`."""
    if axes is None:
        axes = new_axes(12.0, 1.9 + 0.36 * len(hierarchy), ncols=2, sharey=True, width_ratios=(3, 2))
    _draw_points(axes[0], hierarchy)
    _draw_cycle(axes[1], hierarchy)
    return axes


def _draw_points(ax: Any, hierarchy: Hierarchy) -> None:
    """Draw each level's points at the training steps that they stand for (Figure 3)."""
    whole = hierarchy[0].steps
    shown = min(whole, max(MOST_POINTS, 2 * hierarchy[0].coarsening))
    stride, ink = 1, foreground()
    # Neighbours are not to touch, so that no F-point is hidden by C-points.
    apart = 72 * ax.get_window_extent().width / ax.figure.dpi / (shown + 1)
    small, large = min(3.5, max(1.5, 0.4 * apart)), min(6.5, max(2.5, 0.75 * apart))
    for number, level in enumerate(hierarchy.levels):
        points = range(0, min(level.steps * stride, shown) + 1, stride)
        # The coarsest level's points are all alike: they are solved for one after another.
        wide = stride * level.coarsening if number < hierarchy.last else 0
        c_points = [i for i in points if wide and i % wide == 0 and i // wide <= hierarchy[number + 1].steps]
        f_points = [i for i in points if i not in set(c_points)]
        ax.plot([0, shown], [number, number], color=faint(0.25), linewidth=1, zorder=1)
        ax.plot(
            f_points,
            [number] * len(f_points),
            "o",
            color=ink,
            markersize=small,
            zorder=3,
            label="F-point" if not number else None,
        )
        ax.plot(
            c_points,
            [number] * len(c_points),
            "s",
            color="#d55e00",
            markeredgecolor=ink,
            markeredgewidth=min(1.0, large / 6),
            markersize=large,
            label="C-point: on the next level too" if not number else None,
        )
        for i in c_points:
            ax.plot([i, i], [number, number + 1], ":", color=faint(0.4), linewidth=0.8, zorder=0)
        stride = wide
    ax.set_ylim(len(hierarchy) - 0.5, -0.6)
    ax.set_yticks(range(len(hierarchy)), [_name(hierarchy, number) for number in range(len(hierarchy))])
    ax.set_xlabel("training step" if shown == whole else f"training step (the first {shown} of {whole})")
    ax.set_title("levels", fontsize="medium")
    legend_below(ax)


def _name(hierarchy: Hierarchy, number: int) -> str:
    level = hierarchy[number]
    how = "serial" if number == hierarchy.last else f"m = {level.coarsening}, {level.relaxation}"
    return f"level {number}:  N = {level.steps}, {how}"


def _draw_cycle(ax: Any, hierarchy: Hierarchy) -> None:
    """Draw the order in which a cycle goes through the levels (Figure 5)."""
    stops = traversal(hierarchy)
    size = min(7.0, max(2.5, 200 / len(stops)))
    ax.plot(range(len(stops)), [level for level, _ in stops], color=faint(0.6), linewidth=1.2, zorder=1)
    for kind, marker, face, name in (
        ("CF", "o", foreground(), "relaxation with C-points"),
        ("F", "o", paper(), "F-relaxation"),
        ("solve", "s", "#d55e00", "serial solve"),
    ):
        chosen = [place for place, (_, done) in enumerate(stops) if done == kind]
        if chosen:
            ax.plot(
                chosen,
                [stops[place][0] for place in chosen],
                marker,
                color=foreground(),
                markerfacecolor=face,
                markersize=size,
                label=name,
            )
    ax.set_xticks([])
    ax.set_xlabel("order of work")
    ax.set_title(f"{hierarchy.cycle}-cycle", fontsize="medium")
    legend_below(ax)
