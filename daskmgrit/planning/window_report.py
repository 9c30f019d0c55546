"""The report of ``daskmgrit plan`` on parallel Newton, and the recommended method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from daskmgrit.planning.acceptance import FEW, Acceptance
from daskmgrit.planning.setting import whole_cycles
from daskmgrit.planning.window_plan import WindowPlan
from daskmgrit.utils.units import time_in_words

__all__ = ["at_worst", "commands", "diverges", "fastest", "mend", "pays", "verdict", "window_report", "window_rows"]

# Times that differ by no more than this factor are as good as the same: predictions are no better.
NEAR = 1.05

# alpha lambda_max from which on training counts as near the edge of stability, which is 2.
EDGE = 1.0


def window_report(steps: int, plan: WindowPlan | None, accepted: Acceptance) -> dict[str, Any]:
    """Return the prediction of parallel Newton; its values are None if there is only one thread."""
    about = {"accepted_from": accepted.origin, "edge": accepted.edge, "growth": accepted.growth, "contracts": None}
    about["defect"] = accepted.defect
    if plan is None:
        names = [each.name for each in fields(WindowPlan) if each.name != "serial"]
        return dict.fromkeys((*names, "serial_seconds", "speedup", "least_speedup", "python")) | about
    found = asdict(plan)
    return {
        **found,
        "serial_seconds": found.pop("serial"),
        "speedup": plan.speedup,
        "least_speedup": plan.least_speedup,
        **about,
        "contracts": accepted.most >= FEW,
        "python": plan.python(steps),
    }


def diverges(found: dict[str, Any]) -> str:
    """Return the report on MGRIT in place of a setting."""
    return f"does not converge{'' if found['newton']['defect'] else ' with any setting that was tried'}"


def mend(found: dict[str, Any]) -> str:
    """Return what stands in place of a command, where something is wrong with phi."""
    first = "none: correct phi first"
    harmless = ", or give it a true attribute `pure` if the finding is harmless"
    return first if found["newton"]["defect"] else first + harmless


def fastest(times: Mapping[str, float]) -> str:
    """Return the method with the least time; of methods within a few percent, the simplest.

    Examples
    --------
    >>> fastest({"serial": 10.0, "newton": 9.8, "mgrit": 9.9}), fastest({"serial": 10.0, "newton": 5.0, "mgrit": 4.0})
    ('serial', 'mgrit')
    """
    least = min(times.values())
    return next(name for name in ("serial", "newton", "mgrit") if times.get(name, math.inf) <= NEAR * least)


def verdict(found: dict[str, Any]) -> str:
    """Return the fastest method and the speedups of the others, in words."""
    named = {"mgrit": "MGRIT", "newton": "parallel Newton", "serial": "serial"}
    times = {"mgrit": None if found["optimizer"] else found["speedup"], "newton": found["newton"]["speedup"]}
    best, words = found["faster"], []
    for method, speedup in times.items():
        if method == best or speedup is None:
            continue
        much = f"{speedup:.3g} times" if speedup >= 1 else f"would take {1 / speedup:.3g} times as long as serial"
        much += ", about the same" if speedup > (times.get(best) or math.inf) else ""
        words.append(f"{named[method]} {much}" if speedup < 1 else f"{named[method]}: {much}")
    as_fast = best == "serial" and any((speedup or 0) > 1 for speedup in times.values())
    first = f"{named[best]} is {'about as fast' if as_fast else 'faster'}"
    first += f": {times[best]:.3g} times" if best != "serial" else ""
    if best == "mgrit" and found["least_speedup"] < 1:
        between = f"{found['least_speedup']:.2g} to {times[best]:.3g} times"
        first = f"MGRIT may be faster: {between}, because its cycles were not counted on the whole run"
    newton = found["newton"]
    if best == "newton" and newton["least_speedup"] < 1:
        between = f"{newton['least_speedup']:.2g} to {times[best]:.3g} times"
        first = f"parallel Newton may be faster: {between}, because its sweeps accept more at some steps than at others"
    if found["remark"]:
        first = f"uncertain because of phi: {first}"
    return f"{first}; {'; '.join(words)}" if words else first


def at_worst(found: dict[str, Any]) -> str:
    """Return the possible cycles of MGRIT and its speedup with them, in words; empty if the number is certain."""
    if found["most_iterations"] <= whole_cycles(found["iterations"]):
        return ""
    return f"; up to {found['most_iterations']} if they grow with the steps: speedup {found['least_speedup']:.2g}"


def pays(most: int, speedup: float) -> str:
    """Return the numbers of cycles with which MGRIT pays, in words."""
    if speedup > 1:
        return f"up to {most} cycles with this setting"
    return f"only if {most} cycle{'s' * (most > 1)} were enough" if most else "not even if one cycle were enough"


def _from(newton: dict[str, Any]) -> str:
    """Return the beginning of a speedup's range; empty if there is no range."""
    least = f"{newton['least_speedup']:.3g}"
    return "" if least == f"{newton['speedup']:.3g}" else f"{least} to "


def _newton_first(found: dict[str, Any]) -> bool:
    """Whether the recommended command is that of parallel Newton."""
    newton = found["newton"]
    if found["optimizer"] or found["command"] is None or found["faster"] == "newton":
        return True
    return found["faster"] == "serial" and (newton["speedup"] or 0) > found["speedup"]


def window_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the report on parallel Newton, as rows of a name and words."""
    newton = found["newton"]
    if newton["seconds"] is None:
        return [("parallel Newton", "needs two threads at least")]
    rows = [
        (
            "parallel Newton",
            f"{time_in_words(newton['seconds'])} predicted: speedup {_from(newton)}{newton['speedup']:.3g}, window of "
            f"{newton['slots']} slots on {newton['threads']} threads",
        ),
        (
            "sweeps",
            f"{newton['sweeps']} of {time_in_words(newton['sweep_seconds'])}; each accepts {newton['accepted']:.3g} "
            f"steps, {newton['accepted_from']}; a step is evaluated {newton['work']:.3g} times",
        ),
    ]
    if found["remark"]:
        # A defect of phi makes the other numbers meaningless.
        return rows
    told = newton["edge"] is not None and newton["edge"] >= 0
    edge = f"alpha lambda_max is {newton['edge']:.2g}, the edge of stability is 2" if told else ""
    if newton["growth"] or not newton["contracts"]:
        hardly = "training hardly contracts from step to step, so neither method can gain much over its steps"
        words = newton["growth"] or hardly
        rows.append(
            ("", f"{words}; a smaller learning rate would help, if it has one" + (f" ({edge})" if edge else ""))
        )
    elif newton["edge"] is not None and newton["edge"] >= EDGE:
        rows.append(("", f"{edge}: nearer to it sweeps accept less"))
    return rows


def commands(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the commands for the faster of the two methods, as rows of a name and words."""
    newton = found["newton"]
    if found["remark"]:
        return [("command", mend(found))]
    if found["optimizer"] and newton["command"] is None:
        return [("command", f"none: parallel Newton alone trains with {found['optimizer']}, and needs two threads")]
    if found["command"] is None and newton["command"] is None:
        return [("command", "none: MGRIT does not converge, and parallel Newton needs two threads")]
    of = newton if _newton_first(found) else found
    if found["faster"] == "serial":
        return [
            ("in Python", f"dm.train_serially(phi, w0, {found['steps']})"),
            ("not serially", of["command"]),
            ("or in Python", of["python"]),
        ]
    return [("command", of["command"]), ("or in Python", of["python"])]
