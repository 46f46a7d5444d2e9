"""The recommendation: from a posterior to a regimen that a pharmacy can prepare and the guard lets pass.

::

    posterior ─▶ draws ─▶ for each interval: optimal control (CasADi) ─▶ practical doses around it, all of them,
                          simulated over the draws ─▶ ranked ─▶ guard ─▶ Recommendation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError, RecordError
from ..pkpd.record import Record
from ..pkpd.regimen import Regimen
from ..safety import Decision, Verdict, guard, guard_regimen
from ..therapies import Therapy
from ..twin.diagnostics import diagnose
from ..twin.forecast import Forecast, forecast
from ..twin.posterior import Posterior
from ..twin.sync import sync
from . import ocp, words
from .bedside import asked_of, context_of
from .outcome import Outcome
from .provenance import provenance
from .situation import Course, Grid, courses, linear, quantity, share_in_range, unit_courses

__all__ = ["Candidate", "Options", "Recommendation", "recommend"]

BAND = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Options:
    """Numbers of a recommendation; saved with it and used again by `replay`.

    Attributes:
        seed: of the posterior's draws; ``draws`` proposals for each model.
        plan_draws: equally weighted draws over which regimens are judged; ``ocp_draws`` of the optimal control problem.
        around: how many increments to each side of the continuous optimum are tried.
        listed: how many candidates are returned.
        start: earliest time of the next dose (h); None: one interval after the last dose, now at the earliest.
        verified: a person has checked levels that the twin finds implausible; without it such a newest level ends
            without a dose.
    """

    seed: int = 0
    draws: int = 2000
    plan_draws: int = 200
    ocp_draws: int = 40
    around: int = 5
    listed: int = 5
    start: float | None = None
    verified: bool = False


@dataclass(frozen=True)
class Candidate:
    """A practical regimen and what the draws say of it.

    Attributes:
        regimen: the doses; ``interval`` between them (h).
        p_target: probability that the goal's quantity lies within the goal.
        p_harm: probability of each harm; ``allowed``: all within their stated levels.
        bands: 5 %, 50 % and 95 % quantile of trough, peak and AUC24 (see `doseloop.therapies.therapy.QUANTITIES`).
        utility: what it was ranked by: P(target) − ½ mean |log(quantity / target)| along the horizon, less a little
            for a regimen that is harder to carry out.
        verdicts: the guard's, dose by dose (empty until asked).
    """

    regimen: Regimen
    interval: float
    p_target: float
    p_harm: dict[str, float]
    allowed: bool
    bands: dict[str, tuple[float, float, float]]
    utility: float
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Recommendation:
    """The answer, with all it rests on.

    Attributes:
        therapy, record: what was asked about whom.
        outcome: how it ended; ``sentence``: in words.
        regimen: the recommended doses, None where none is advised.
        candidates: the best regimens, ranked; the first is the recommended one where there is one.
        hold: the candidate of giving nothing.
        forecast: under the recommended regimen (or under none); None where nothing could be computed.
        posterior: the twin; ``plans``: the continuous optima by interval.
        reasons: why, a sentence each.
        provenance: hashes, versions, solver, tolerances, seed.
        options: the numbers it was made with.
    """

    therapy: Therapy
    record: Record
    outcome: Outcome
    sentence: str
    regimen: Regimen | None
    candidates: tuple[Candidate, ...]
    hold: Candidate | None
    forecast: Forecast | None
    posterior: Posterior | None
    plans: dict[float, ocp.Plan]
    reasons: tuple[str, ...]
    provenance: dict[str, Any]
    options: Options


@dataclass(frozen=True)
class _Judged:
    """Regimens of one grid with what the draws say of each; a pair of ``None`` stands for giving nothing."""

    grid: Grid
    pairs: Sequence[tuple[float, float] | None]
    p_target: np.ndarray
    p_harm: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    allowed: np.ndarray
    utility: np.ndarray

    def candidate(self, i: int) -> Candidate:
        """The i-th as a candidate."""
        pair = self.pairs[i]
        return Candidate(
            Regimen() if pair is None else self.grid.regimen(*pair),
            self.grid.interval,
            float(self.p_target[i]),
            {name: float(v[i]) for name, v in self.p_harm.items()},
            bool(self.allowed[i]),
            {name: (float(b[0, i]), float(b[1, i]), float(b[2, i])) for name, b in self.bands.items()},
            float(self.utility[i]),
        )


def _judge(
    therapy: Therapy, grid: Grid, pairs: Sequence[tuple[float, float] | None], course: Course, usual: float
) -> _Judged:
    start, goal = float(grid.starts[0]), therapy.goal
    values = {name: quantity(name, course, grid.times, start) for name in ("trough", "peak", "auc24")}
    if goal.quantity == "time_in_range":
        values[goal.quantity] = share_in_range(goal, course, grid.times, start)
        p_target = values[goal.quantity].mean(axis=0)
    else:
        q = values[goal.quantity]
        p_target = ((q >= goal.low) & (q <= goal.high)).mean(axis=0)
    along = ocp.along_horizon(goal.quantity, course, grid)
    distance = np.abs(np.log(np.maximum(along, 1e-9) / goal.target)).mean(axis=(0, 2))
    p_harm = {h.name: (values[h.quantity] > h.above).mean(axis=0) for h in therapy.harms}
    level = {h.name: h.probability_max.value for h in therapy.limits.predicted}
    allowed = np.all([p <= level[name] for name, p in p_harm.items()], axis=0)
    # a regimen with a different first dose, or another interval than the usual, must earn its trouble
    trouble = [0.0 if p is None else 0.01 * (p[0] != p[1]) + 0.02 * (grid.interval != usual) for p in pairs]
    bands = {name: np.quantile(v, BAND, axis=0) for name, v in values.items()}
    return _Judged(grid, pairs, p_target, p_harm, bands, allowed, p_target - 0.5 * distance - np.array(trouble))


def _near(amounts: Sequence[float], optimum: float, around: int, zero: bool) -> list[float]:
    """Practical amounts around an optimum (all, where there are few); with 0 for a dose that may be left out."""
    a = np.asarray(amounts)
    if len(a) > 2 * around + 3:
        i = int(np.argmin(np.abs(a - optimum)))
        a = a[max(0, i - around) : i + around + 1]
    return ([0.0] if zero else []) + [float(v) for v in a]


@dataclass(frozen=True)
class _Search:
    """What was found: judged grids, the order of all their regimens, giving nothing, the continuous optima."""

    judged: list[_Judged]
    order: list[tuple[int, int]]
    hold: Candidate
    plans: dict[float, ocp.Plan]

    def candidate(self, rank: int) -> Candidate:
        """The candidate of that rank; allowed ones come first."""
        grid, i = self.order[rank]
        return self.judged[grid].candidate(i)


def _search(therapy: Therapy, posterior: Posterior, weight: float, options: Options) -> _Search:
    record, action = posterior.record, therapy.action
    drawn = posterior.equal_draws(options.plan_draws)
    # systematic resampling lists the draws model by model: every n-th of them is as fair a sample
    thin = slice(None, None, max(1, options.plan_draws // options.ocp_draws))
    few, rows, before = [], [], 0
    for part, eta in drawn:
        few.append((part, eta[thin]))
        rows += list(range(before, before + len(eta)))[thin]
        before += len(eta)
    grids = [Grid.of(therapy, record, weight, interval, options.start) for interval in action.intervals]
    units = units_few = None
    if linear(drawn):
        lags = np.unique(np.concatenate([g.lags() for g in grids]))
        lengths = sorted({action.duration(a, weight) for a in action.amounts(weight)})
        units = unit_courses(drawn, therapy, record, lengths, lags)
        units_few = units.draws(rows)
    judged: list[_Judged] = []
    plans: dict[float, ocp.Plan] = {}
    hold: Candidate | None = None
    moments = np.unique(np.concatenate([g.times for g in grids]))
    nothing = courses(drawn, therapy.output, record, [Regimen()], moments)
    for grid in grids:
        interval = grid.interval
        base = nothing.at(np.searchsorted(moments, grid.times))
        plan = plans[interval] = ocp.solve(grid, few, base.draws(rows), units_few)
        amounts = action.amounts(weight)
        first = plan.amounts[0] if plan.success else amounts[len(amounts) // 2]
        rest = plan.amounts[1:].mean() if plan.success and len(plan.amounts) > 1 else first
        firsts, rests = (_near(amounts, v, options.around, True) for v in (first, rest))
        if action.loading:
            # a load is not smaller than what follows it; 0 leaves the first dose out
            pairs = [(a, b) for a in firsts for b in rests if (a or b) and (a >= b or a == 0)]
        else:
            pairs = [(b, b) for b in rests if b]
        if len(grid.starts) == 1:
            pairs = sorted({(a, a) for a, _ in pairs if a})
        judged.append(_judge(therapy, grid, pairs, grid.evaluate(drawn, pairs, base, units), action.intervals[0]))
        if hold is None:
            hold = _judge(therapy, grid, [None], base, interval).candidate(0)
    assert hold is not None
    every = [(g, i) for g, j in enumerate(judged) for i in range(len(j.pairs))]
    every.sort(key=lambda at: (not judged[at[0]].allowed[at[1]], -judged[at[0]].utility[at[1]]))
    return _Search(judged, every, hold, plans)


def _pass(therapy: Therapy, record: Record, found: _Search, wanted: int) -> list[Candidate]:
    """The best ``wanted`` candidates that the guard lets pass unchanged, with its verdicts."""
    kept: list[Candidate] = []
    for rank in range(len(found.order)):
        c = found.candidate(rank)
        if not c.allowed or len(kept) == wanted:
            break
        context = context_of(therapy, record, c.p_harm)
        verdicts = guard_regimen(asked_of(therapy, c.regimen), context, therapy.limits)
        if all(v.decision is Decision.PASSED for v in verdicts):
            kept.append(replace(c, verdicts=tuple(verdicts)))
    return kept


def _data_faults(therapy: Therapy, record: Record) -> list[str]:
    """Why the guard would refuse any dose at all, whatever its size: faults of record, readings, weight."""
    context = context_of(therapy, record, {h.name: 0.0 for h in therapy.harms})
    weight = context.weight if np.isfinite(context.weight) else 1.0
    last = max((g.time for g in context.given), default=-np.inf)
    spacing = therapy.limits.actions[0].interval_min.value
    time = max(record.now, last + (spacing if np.isfinite(spacing) else 0.0))
    probe = Regimen(therapy.action.dose(therapy.action.amounts(max(weight, 0.5))[0], time, weight))
    verdict = guard(asked_of(therapy, probe)[0], context, therapy.limits)
    return [r.sentence for r in verdict.reasons if r.code.refuses]


@dataclass(frozen=True)
class _Doubts:
    """Sentences about levels that do not fit: of the newest one if implausible (else empty), and of all others."""

    newest: str
    older: list[str]


def _doubts(twin: Posterior) -> _Doubts:
    if not twin.record.observed:
        return _Doubts("", [])
    odd = [r for r in diagnose(twin).readings if r.verdict != "consistent"]
    last = twin.record.observed[-1].time
    newest = [r for r in odd if r.measurement.time == last and r.verdict == "implausible"][:1]
    say = lambda r: f"A level is {r.sentence}."  # noqa: E731
    return _Doubts(say(newest[0]) if newest else "", [say(r) for r in odd if r not in newest])


def recommend(therapy: Therapy, patient: Posterior | Record, options: Options | None = None) -> Recommendation:
    """Recommend the next doses for one patient.

    Args:
        therapy: goal, harms, limits, what may be given.
        patient: the record, or its posterior from :func:`doseloop.sync` with the options' seed and draws.
        options: see `Options`.

    Every ending is an `Outcome`; faults of the data, a posterior that cannot be trusted and failed computations end
    without a dose and with a sentence, never with an exception.
    """
    options = options or Options()
    record = patient.record if isinstance(patient, Posterior) else patient
    proof = provenance(therapy, record, options)

    def end(outcome: Outcome, reasons: Sequence[str], **more: Any) -> Recommendation:
        parts: dict[str, Any] = {
            "regimen": None,
            "candidates": (),
            "hold": None,
            "forecast": None,
            "posterior": None,
            "plans": {},
        }
        why = f" {reasons[0]}" if reasons and not outcome.gives else ""
        sentence = more.pop("sentence", outcome.value + why)
        return Recommendation(
            therapy=therapy, record=record, outcome=outcome, sentence=sentence, reasons=tuple(reasons),
            provenance=proof, options=options, **(parts | more),
        )  # fmt: skip

    try:
        faults = _data_faults(therapy, record)
        weight = record.covariates_at(record.now).get("weight", float("nan"))
        twin = (
            patient if isinstance(patient, Posterior) else sync(therapy, record, draws=options.draws, seed=options.seed)
        )
        horizon = record.now + therapy.horizon + max(therapy.action.intervals)

        def ahead(regimen: Regimen | None = None) -> Forecast:
            return forecast(twin, regimen, until=horizon, output=therapy.output, draws=options.plan_draws)

        if faults:
            return end(Outcome.DATA, faults, posterior=twin, forecast=ahead())
        if not twin.trusted:
            return end(Outcome.UNTRUSTED, twin.notes, posterior=twin, forecast=ahead())
        doubts = _doubts(twin)
        if doubts.newest and not options.verified:
            return end(Outcome.DATA, [doubts.newest, *doubts.older], posterior=twin, forecast=ahead())
        twin_notes = [*filter(None, [doubts.newest]), *doubts.older, *twin.notes]
        found = _search(therapy, twin, weight, options)
        hold, kept = found.hold, _pass(therapy, record, found, options.listed)
        more = {"posterior": twin, "plans": found.plans, "hold": hold}
        if not kept:
            listed = tuple(found.candidate(i) for i in range(min(options.listed, len(found.order))))
            why = [words.why_none(therapy, listed[0]), *twin_notes]
            return end(Outcome.HOLD, why, candidates=listed, forecast=ahead(), **more)
        best = kept[0]
        if hold.utility >= best.utility:
            why = [
                f"None is needed: without a dose {words.chance(therapy, hold)}, and no regimen does better.",
                *twin_notes,
            ]
            return end(Outcome.HOLD, why, candidates=tuple(kept), forecast=ahead(), **more)
        reasons = [*words.reasons(therapy, twin, best, hold, found.plans), *twin_notes]
        return end(
            Outcome.RECOMMENDED, reasons, sentence=words.sentence(therapy, best), regimen=best.regimen,
            candidates=tuple(kept), forecast=ahead(best.regimen), **more,
        )  # fmt: skip
    except RecordError as error:
        return end(Outcome.DATA, [str(p) for p in error.problems])
    except DoseloopError as error:
        return end(Outcome.FAILED, [str(p) for p in error.problems])
