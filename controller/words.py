"""A recommendation in words that a clinician can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..therapies import Therapy
from ..twin.posterior import Posterior
from .ocp import Plan

if TYPE_CHECKING:
    from .recommend import Candidate

__all__ = ["amount", "chance", "reasons", "sentence", "why_none"]


def amount(therapy: Therapy, candidate: Candidate) -> str:
    """The regimen in words."""
    unit, doses = therapy.action.unit, candidate.regimen.doses
    length = doses[0].duration
    over = f" over {length:g} h" if length else ""
    first = f"{doses[0].amount:g} {unit}{over} at {doses[0].time:g} h"
    rest = doses[1:]
    if not rest:
        return first
    if rest[0].amount == doses[0].amount:
        return f"{doses[0].amount:g} {unit}{over} every {candidate.interval:g} h from {doses[0].time:g} h on"
    again = f" over {rest[0].duration:g} h" if rest[0].duration else ""
    return f"{first}, then {rest[0].amount:g} {unit}{again} every {candidate.interval:g} h from {rest[0].time:g} h on"


def chance(therapy: Therapy, c: Candidate) -> str:
    """Where the goal's quantity lies, and how likely."""
    goal = therapy.goal
    within = f"within {goal.low:g} to {goal.high:g} {goal.unit}"
    if goal.quantity == "time_in_range":
        return f"the level is expected to lie {within} for {100 * c.p_target:.0f} % of the time"
    return f"the {written(goal.quantity)} lies {within} with probability {likely(c.p_target)}"


def written(quantity: str) -> str:
    """A quantity as the field writes it."""
    return {"auc24": "AUC24", "time_in_range": "level"}.get(quantity, quantity)


def likely(share: float, draws: int = 200) -> str:
    """A share of the draws as a probability: all of 200 draws is not certainty."""
    if share > 1 - 1 / draws:
        return "over 99 %"
    if share < 1 / draws:
        return "under 1 %"
    return f"{100 * share:.0f} %"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def sentence(therapy: Therapy, c: Candidate) -> str:
    """The recommended regimen in one sentence."""
    return f"Give {therapy.drug} {amount(therapy, c)}: {chance(therapy, c)}."


def wait(c: Candidate, now: float) -> str:
    """When the first dose is due, seen from now."""
    hours = c.regimen.doses[0].time - now
    return "The first dose is due now." if hours <= 0 else f"The first dose is due in {hours:g} h, not now."


def why_none(therapy: Therapy, best: Candidate) -> str:
    """Why no regimen could be advised."""
    level = {h.name: h.probability_max.value for h in therapy.limits.predicted}
    over = [
        f"{n} has probability {likely(p)} (at most {100 * level[n]:.0f} %)"
        for n, p in best.p_harm.items()
        if p > level[n]
    ]
    if over:
        return f"Every dose would be too likely to harm: even with the least harmful regimen tried, {'; '.join(over)}."
    return "The guard's limits let no practical regimen pass."


def reasons(therapy: Therapy, twin: Posterior, best: Candidate, hold: Candidate, plans: dict[float, Plan]) -> list[str]:
    """When, goal, evidence, expected levels, risks and the alternative of giving nothing, a sentence each."""
    goal, record = therapy.goal, twin.record
    aim = f"{written(goal.quantity)} of {goal.low:g} to {goal.high:g} {goal.unit}, best {goal.target:g}"
    out = [wait(best, record.now), f"The goal: {aim} ({goal.source})."]
    levels = [m for m in record.observed if m.output == therapy.output]
    doses = sum(d.additional + 1 for d in record.given.doses)
    out.append(f"The twin rests on {_count(len(levels), 'level')} and {_count(doses, 'dose')}.")
    if len(twin.parts) > 1:
        weights = ", ".join(f"{p.model.id} {100 * w:.0f} %" for p, w in zip(twin.parts, twin.model_weights))
        out.append(f"Rival models after the levels: {weights}.")
    for q in dict.fromkeys([goal.quantity, "trough", "peak"]):
        low, mid, high = best.bands[q]
        if q == "time_in_range":
            out.append(
                f"Expected share of time in range: {100 * mid:.0f} % (90 % band {100 * low:.0f} to {100 * high:.0f})."
            )
            continue
        unit = goal.unit if q == goal.quantity else therapy.models[0].output(therapy.output).unit
        out.append(f"Expected {written(q)}: {mid:.3g} {unit} (90 % band {low:.3g} to {high:.3g}).")
    for harm in therapy.harms:
        most = next(h.probability_max.value for h in therapy.limits.predicted if h.name == harm.name)
        out.append(f"Probability of {harm.name}: {likely(best.p_harm[harm.name])}; {100 * most:.0f} % is accepted.")
    out.append(f"Without a dose, {chance(therapy, hold)}.")
    out.append(
        "Bands and probabilities are of the true level, if the models are right; they leave out a model's own error."
    )
    plan = plans[best.interval]
    if plan.success:
        amounts = ", ".join(f"{a:.3g}" for a in plan.amounts)
        out.append(
            f"For comparison: with every dose free and none rounded, the best at this interval would be {amounts} "
            f"{therapy.action.unit}."
        )
    else:
        out.append(
            f"The optimal control problem was not solved ({plan.solver}); regimens around the middle of the range "
            "were tried."
        )
    return out
