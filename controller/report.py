"""A recommendation and a therapy in words and tables, for a terminal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ..pkpd.individuals import individuals
from ..pkpd.simulate import weighted_quantiles
from ..pkpd.text import number, paragraph, percent, table
from ..safety import Bound, Limits, Unlimited, Verdict
from ..therapies import Therapy
from ..twin.diagnostics import Diagnostics
from ..twin.forecast import forecast
from ..twin.posterior import ModelPosterior, Posterior
from .recommend import Candidate, Recommendation

__all__ = ["CONFIRM", "limits_rows", "recommendation_text", "therapy_dict", "therapy_text"]

CONFIRM = "A clinician confirms every dose."
MATTERS = 0.01  # models of less weight are not listed


def _parameter_rows(part: ModelPosterior) -> list[list[str]]:
    """Each parameter: in people of these covariates, in this patient, and how much the data said."""
    model, layout = part.model, part.layout
    covariates = layout.record.covariates_at(layout.record.now)
    if model.covariates:
        covariates = dict(zip(model.names("covariates"), layout.covariates[-1]))
    eta = part.eta[:, layout.effects.of_occasion[layout.occasion[-1]]]
    typical = individuals(model, covariates)[0]
    bands = weighted_quantiles(individuals(model, covariates, eta), part.weights, (0.05, 0.5, 0.95))
    information, rows = part.information(), []
    for i, (name, unit) in enumerate(model.individual_units.items()):
        low, middle, high = bands[:, i]
        fixed = high - low < 1e-9 * abs(middle)
        own = [v for k, v in information.items() if k.split("@")[0] == name]
        rows.append(
            [
                name, "" if unit == "1" else unit, number(typical[i], 3), number(middle, 3),
                "same for all" if fixed else f"{number(low, 3)} to {number(high, 3)}",
                "" if fixed or not own else percent(max(0.0, own[-1])),
            ]
        )  # fmt: skip
    return rows


def _posterior_text(twin: Posterior) -> list[str]:
    out = []
    for part, weight in zip(twin.parts, twin.model_weights):
        if weight < MATTERS:
            continue
        how = "MCMC" if part.chains is not None else "importance sampling"
        share = f", probability {percent(float(weight))}" if len(twin.parts) > 1 else ""
        out += ["", f"Posterior under {part.model.id}{share} ({part.ess:.0f} effective draws, {how})"]
        head = ["parameter", "unit", "population", "this patient", "90 % band", "information"]
        out.append(table(head, _parameter_rows(part), "llrrrr"))
    return out


def _fit_text(diagnostics: Diagnostics, twin: Posterior) -> list[str]:
    model = twin.best.model
    if not diagnostics.readings:
        return ["", "No level was measured: the posterior is the population's."]
    rows = []
    for r in diagnostics.readings:
        m = r.measurement
        rows.append(
            [
                f"{m.time:.5g}", f"{'<' * m.censored}{number(m.value)}", number(r.ipred, 3), number(r.expected, 3),
                f"{number(r.low, 3)} to {number(r.high, 3)}", r.verdict,
            ]
        )  # fmt: skip
    unit = model.output(diagnostics.readings[0].measurement.output).unit
    head = [
        f"time\n{model.time_unit}", f"measured\n{unit}", f"fitted\n{unit}", f"expected\n{unit}", f"90 % band\n{unit}",
        "verdict",
    ]  # fmt: skip
    under = f"fitted under {diagnostics.model}, " if len(twin.parts) > 1 else ""
    out = ["", f"Levels ({under}expected from everything else known, band of a reading)", table(head, rows, "rrrrrl")]
    return out + [paragraph(r.sentence, "  ! ", "    ") for r in diagnostics.readings if r.verdict != "consistent"]


def _forecast_text(r: Recommendation) -> list[str]:
    """Levels to expect just before each planned dose and at the end."""
    assert r.posterior is not None
    now, unit = r.record.now, r.therapy.models[0].output(r.therapy.output).unit
    if r.regimen is not None:
        doses = r.regimen.expanded().doses
        times = [d.time for d in doses] + [doses[-1].time + r.candidates[0].interval]
    else:
        times = list(np.linspace(now, now + r.therapy.horizon, 7))
    times = sorted({t for t in times if t >= now})
    kept = times if len(times) <= 12 else times[:11] + times[-1:]
    f = forecast(r.posterior, r.regimen, times=kept, output=r.therapy.output, draws=r.options.plan_draws)
    q = f.quantiles()
    rows = [
        [f"{t:.5g}", number(q[2, i], 3), f"{number(q[1, i], 3)} to {number(q[3, i], 3)}",
         f"{number(q[0, i], 3)} to {number(q[4, i], 3)}"]
        for i, t in enumerate(f.times)
    ]  # fmt: skip
    what = "with the recommended doses, just before each" if r.regimen is not None else "without a further dose"
    head = [f"time\n{f.time_unit}", f"median\n{unit}", f"50 % band\n{unit}", f"90 % band\n{unit}"]
    return ["", f"Forecast of the {f.output}, {what}", table(head, rows, "rrrr")]


def _candidate_row(r: Recommendation, name: str, c: Candidate) -> list[str]:
    doses = c.regimen.doses
    first = f"{number(doses[0].amount)} at {doses[0].time:.5g} h" if doses else "none"
    rest = f"{number(doses[1].amount)} × {len(doses) - 1}" if len(doses) > 1 else "–"
    bands = []
    for quantity in _quantities(r.therapy):
        low, middle, high = c.bands[quantity]
        bands.append(f"{number(middle, 3)} ({number(low, 3)}–{number(high, 3)})")
    every = f"{c.interval:g} h" if doses else "–"
    return [name, first, rest, every, percent(c.p_target), *(percent(p) for p in c.p_harm.values()), *bands]


def _quantities(therapy: Therapy) -> list[str]:
    return list(dict.fromkeys([therapy.goal.quantity, "trough", "peak"]))


def _candidates_text(r: Recommendation) -> list[str]:
    if not r.candidates and r.hold is None:
        return []
    therapy, unit = r.therapy, r.therapy.models[0].output(r.therapy.output).unit
    units = {"auc24": therapy.goal.unit if therapy.goal.quantity == "auc24" else f"{unit}*h"}
    harms = [re.sub(r" above (\S+) ", r"\nabove \1\n", h.name) for h in therapy.harms]
    columns = [f"{'AUC24' if q == 'auc24' else q}\n{units.get(q, unit)}" for q in _quantities(therapy)]
    dose = therapy.action.unit
    head = ["", f"first dose\n{dose}", f"then\n{dose}", "every", "P(in\ntarget)", *(f"P({h})" for h in harms), *columns]
    rows = [_candidate_row(r, f"{i + 1}", c) for i, c in enumerate(r.candidates)]
    if r.hold is not None:
        rows.append(_candidate_row(r, "no dose", r.hold))
    title = "Regimens, best first (median and 90 % band)"
    if not r.outcome.gives:
        title = "Regimens that were looked at (median and 90 % band)"
    return ["", title, table(head, rows, "l" + "r" * (len(head) - 1))]


def _guard_text(r: Recommendation) -> list[str]:
    """What the guard says of each dose; neighbours with the same words together."""
    verdicts = r.candidates[0].verdicts if r.regimen is not None and r.candidates else ()
    if not verdicts:
        return []
    out = ["", "The guard"]
    for sentence, group in itertools.groupby(verdicts, key=lambda v: v.sentence):
        some: list[Verdict] = list(group)
        when = f"{some[0].asked.time:g} h"
        if len(some) > 1:
            when += f" to {some[-1].asked.time:g} h ({len(some)} doses)"
        out.append(paragraph(f"{when}: {sentence}", "  ", "    "))
    return out


def recommendation_text(r: Recommendation, diagnostics: Diagnostics | None = None) -> str:
    """The whole answer: purpose, twin, fit, forecast, regimens, reasons, outcome, the guard's verdicts."""
    record, therapy = r.record, r.therapy
    doses = len(record.given.expanded().doses)
    facts = ", ".join(f"{k} {number(v)}" for k, v in sorted(record.covariates_at(record.now).items()))
    out = [therapy.title, paragraph(therapy.purpose, "  "), ""]
    levels = len(record.observed)
    out.append(
        paragraph(
            f"Patient {record.id} at {record.now:g} h: {doses} dose{'s' * (doses != 1)}, "
            f"{levels} level{'s' * (levels != 1)}; {facts or 'no covariates'}."
        )
    )
    if r.posterior is not None:
        out += _posterior_text(r.posterior)
        if diagnostics is not None:
            out += _fit_text(diagnostics, r.posterior)
        out += _forecast_text(r)
    out += _candidates_text(r)
    if r.reasons:
        out += ["", "Reasons", *(paragraph(reason, "  - ", "    ") for reason in r.reasons)]
    out += _guard_text(r)
    out += ["", paragraph(r.sentence, "→ ", "  "), f"  {CONFIRM}"]
    return "\n".join(out)


def limits_rows(limits: Limits) -> list[tuple[str, str, str]]:
    """Each limit of the table: name, value with unit, source."""
    return list(_limits(limits, ""))


def _limits(item: Any, where: str) -> Iterator[tuple[str, str, str]]:
    for f in fields(item):
        value = getattr(item, f.name)
        name = f"{where}{f.name.replace('_', ' ')}"
        if isinstance(value, Bound):
            unit = "" if value.unit in ("", "1") else f" {value.unit}"
            yield name, f"{value.value:g}{unit}", value.source
        elif isinstance(value, Unlimited):
            yield name, "unlimited", value.reason
        elif isinstance(value, tuple):
            for part in value:
                yield from _limits(part, f"{_called(part)}: ")
        elif is_dataclass(value) and f.name != "safe_action":
            yield from _limits(value, f"{name}: ")


def _called(part: Any) -> str:
    if hasattr(part, "window"):
        return f"total in {part.window.value:g} {part.window.unit}"
    return str(getattr(part, "name", None) or f"{part.route} {part.kind.value}")


def therapy_dict(therapy: Therapy) -> dict[str, Any]:
    """Purpose, models, goal, harms and limits as plain values, ready for JSON."""
    goal = therapy.goal
    return {
        "id": therapy.id,
        "drug": therapy.drug,
        "title": therapy.title,
        "purpose": therapy.purpose,
        "models": list(therapy.model_ids),
        "goal": {
            "quantity": goal.quantity, "low": goal.low, "high": goal.high, "target": goal.target, "unit": goal.unit,
            "source": goal.source,
        },
        "harms": [
            {"name": h.name, "quantity": h.quantity, "above": h.above, "unit": h.unit, "source": h.source}
            for h in therapy.harms
        ],
        "intervals": list(therapy.action.intervals),
        "covariates": [{"name": c.name, "unit": c.unit, "columns": list(c.columns)} for c in therapy.covariates],
        "limits": [{"limit": n, "value": v, "source": s} for n, v, s in limits_rows(therapy.limits)],
        "safe_action": therapy.limits.safe_action.sentence,
    }  # fmt: skip


def therapy_text(therapy: Therapy) -> str:
    """Purpose, models, goal, harms and the limits table as text."""
    goal, action = therapy.goal, therapy.action
    intervals = ", ".join(f"{i:g}" for i in action.intervals)
    columns = ", ".join(
        f"{c.columns[0]}{f'[{c.unit}]' if c.unit else ''}{'' if c.required else ' (if any)'}"
        for c in therapy.covariates
    )
    lines = [
        ("purpose", therapy.purpose),
        ("models", ", ".join(therapy.model_ids)),
        ("goal", f"{goal.quantity} {goal.low:g} to {goal.high:g} {goal.unit}, best {goal.target:g} ({goal.source})"),
        *(("harm", f"{h.name} ({h.source})") for h in therapy.harms),
        ("doses", f"{action.route}, in {action.unit}, every {intervals} h ({action.source})"),
        ("covariates", f"columns {columns}"),
        ("safe action", therapy.limits.safe_action.sentence),
    ]
    out = [f"{therapy.id}: {therapy.title}"]
    out += [paragraph(text, f"  {name:<13}", " " * 15) for name, text in lines]
    return "\n".join([*out, "", table(["limit", "value", "source"], limits_rows(therapy.limits), "lrl")])
