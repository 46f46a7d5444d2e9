"""What a posterior says about each measurement, and what the measurements say about the patient.

A reading is judged against what the doses, the covariates and all *other* levels of the patient lead one to expect
(leave one out): the posterior's draws are reweighted by one over the likelihood of that reading (Gelfand 1992), and
where too few draws then carry the weight, the patient is fitted again without it. Over rival models this averages by
itself.

``p`` is two-sided: twice the smaller tail of that predictive law (for a reading below the limit of quantification: the
probability of one). Verdicts use ``p`` times the number of the record's readings (Bonferroni, which holds for dependent
ones), so that a record in which nothing is wrong draws any remark at all at most once in 20 times:

- below 0.001: implausible; below 0.05: surprising; else consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..pkpd.errors import RecordError
from ..pkpd.record import Measurement
from .likelihood import LOG, TINY, kind_of, spread, total_of_many
from .posterior import ModelPosterior, Posterior, posterior
from .predictive import Predictive, mixture, outputs_of, parts_of, predictive
from .sampling import pareto_k

__all__ = ["Diagnostics", "Reading", "Shrinkage", "diagnose", "shrinkage"]

SURPRISING, IMPLAUSIBLE = 0.05, 0.001  # of p times the number of readings
FEWEST, HIGHEST_K = 200.0, 0.7  # effective draws and tail index beyond which reweighting is not believed


@dataclass(frozen=True)
class Reading:
    """One measurement and what to think of it.

    Attributes:
        measurement: the fact.
        ipred: prediction at the MAP of the most probable model that has the output (IPRED), in the output's unit.
        iwres: (measured − ipred) / residual SD (of logarithms for a log residual); None when censored.
        expected, low, high: median and 90 % band of a reading, from everything but this one.
        pit: probability of a lower reading (half the probability of being censored, when it is).
        p: two-sided; ``p_adjusted``: times the number of readings, at most 1.
        log_density: of the reading under that law (of being censored: its probability).
        ess: effective draws behind it; ``pareto_k``: tail index of the weights (of the reweighting, if that was used).
        method: "reweighted" or "refitted".
        trusted: whether those draws suffice.
        verdict: "consistent", "surprising" or "implausible"; ``sentence`` says it in words.
    """

    measurement: Measurement
    ipred: float
    iwres: float | None
    expected: float
    low: float
    high: float
    pit: float
    p: float
    p_adjusted: float
    log_density: float
    ess: float
    pareto_k: float
    method: str
    trusted: bool
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Diagnostics:
    """All readings judged, and how much the data say.

    Attributes:
        readings: one for each measurement, in the record's order.
        model: id of the most probable model; ``models``: posterior probability of each.
        information: for each effect of that model the share of prior variance removed (1 − this patient's shrinkage).
        notes: of the posterior, and sentences about readings that are not consistent.
    """

    readings: tuple[Reading, ...]
    model: str
    models: dict[str, float]
    information: dict[str, float]
    notes: tuple[str, ...]

    @property
    def worst(self) -> str:
        """The gravest verdict: "consistent" (also without readings), "surprising" or "implausible"."""
        found = {r.verdict for r in self.readings}
        return next((v for v in ("implausible", "surprising") if v in found), "consistent")

    def table(self) -> str:
        """Readings as text, a line each."""
        head = f"{'time':>8} {'measured':>9} {'ipred':>8} {'iwres':>6} {'expected (90 % band)':>24} {'p':>8}  verdict"
        value = lambda m: f"{'<' * m.censored}{m.value:.4g}"  # noqa: E731
        rows = [
            f"{r.measurement.time:8.4g} {value(r.measurement):>9} {r.ipred:8.4g} "
            f"{'' if r.iwres is None else format(r.iwres, '.2f'):>6} "
            f"{f'{r.expected:.4g} ({r.low:.4g} to {r.high:.4g})':>24} {r.p:8.2g}  {r.verdict}"
            for r in self.readings
        ]
        return "\n".join([head, *rows])

    def to_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)


def _deviations(part: ModelPosterior, Y: np.ndarray, i: int, m: Measurement) -> np.ndarray:
    """−log likelihood of reading ``i`` at each draw, (draws,)."""
    residual = part.model.output(m.output).residual
    assert residual is not None  # a cohort refuses such a model
    kind, a, b = kind_of(residual)
    out = np.zeros(len(Y))
    column = part.model.names("outputs").index(m.output)
    total_of_many(
        np.ascontiguousarray(Y[:, i]), np.array([m.value]), np.array([kind]), np.array([a]), np.array([b]),
        np.array([column]), np.array([m.censored]), out,
    )  # fmt: skip
    return out


def _prior_weights(p: Posterior) -> np.ndarray:
    """The models' prior weights, which the posterior does not hold: posterior weights over evidence."""
    evidence = np.array([part.log_evidence for part in p.parts])
    w = p.model_weights * np.exp(evidence.max() - evidence)
    return w / w.sum()


def _without(p: Posterior, i: int) -> Posterior:
    """The posterior fitted again without reading ``i``."""
    observed = tuple(m for k, m in enumerate(p.record.observed) if k != i)
    parts, draws = [part.model for part in p.parts], max(len(part.eta) for part in p.parts)
    return posterior(parts, replace(p.record, observed=observed), _prior_weights(p).tolist(), draws, p.seed)


def _verdict(m: Measurement, unit: str, p: float, count: int, band: np.ndarray, time_unit: str) -> tuple[str, str]:
    adjusted = min(1.0, p * count)
    verdict = "implausible" if adjusted < IMPLAUSIBLE else "surprising" if adjusted < SURPRISING else "consistent"
    among = f" among {count} levels" if count > 1 else ""
    what = f"{'below ' if m.censored else ''}{m.value:.4g} {unit} at {m.time:.4g} {time_unit}"
    expected = f"{band[1]:.4g} ({band[0]:.4g} to {band[2]:.4g}) {unit} was expected"
    if verdict == "consistent":
        return verdict, f"consistent (p = {p:.2g})"
    if verdict == "surprising":
        return verdict, f"surprising (p = {p:.2g}{among}): {what} where {expected}"
    return verdict, (
        f"implausible: {what} where {expected} (p = {p:.2g}{among}); check the sample time, the dose times and the "
        "laboratory report"
    )


def diagnose(p: Posterior) -> Diagnostics:
    """Judge every measurement of a posterior's record.

    A reading far off drags the fit along and makes good ones look bad. Where any is implausible, the least probable one
    is set aside and the rest are judged again without it, until no other is implausible; those set aside are then
    judged by what is left.

    Raises:
        SolverError: a fit without one of the readings that failed.
    """
    judged, aside = _readings(p), []
    left, now = list(range(len(judged))), p
    while len(left) > 1 and any(judged[k].verdict == "implausible" for k in left):
        worst = min((k for k in left if judged[k].verdict == "implausible"), key=lambda k: judged[k].log_density)
        now = _without(now, left.index(worst))
        left.remove(worst)
        aside.append(worst)
        for k, again in zip(left, _readings(now)):
            judged[k] = replace(again, ipred=judged[k].ipred, iwres=judged[k].iwres)
    for k in aside if len(aside) > 1 else ():
        m = judged[k].measurement
        facts = {"ess": now.ess(), "pareto_k": judged[k].pareto_k, "method": "refitted", "trusted": now.trusted}
        judged[k] = _judge(p, m, len(judged), predictive(now, m), facts)
    return Diagnostics(
        tuple(judged),
        p.best.model.id,
        {part.model.id: float(w) for part, w in zip(p.parts, p.model_weights)},
        {name: float(v) for name, v in p.best.information().items()},
        (*p.notes, *(r.sentence for r in judged if r.verdict != "consistent")),
    )


def _readings(p: Posterior) -> list[Reading]:
    """Each reading of the record, judged by all others."""
    parts = parts_of(p)
    predicted = [outputs_of(part, part.eta) for part, _ in parts] if p.record.observed else []
    return [
        _reading(p, i, [(part, w, Y) for (part, w), Y in zip(parts, predicted)]) for i in range(len(p.record.observed))
    ]


def _reading(p: Posterior, i: int, all_parts: Sequence[tuple[ModelPosterior, float, np.ndarray]]) -> Reading:
    m, count = p.record.observed[i], len(p.record.observed)
    parts = [item for item in all_parts if m.output in item[0].model.names("outputs")]
    logs, levels = [], []
    for part, w, Y in parts:
        row, column = part.layout.measurements.index(m), part.model.names("outputs").index(m.output)
        with np.errstate(divide="ignore"):
            logs.append(np.log(w * part.weights) + _deviations(part, Y, row, m))
        levels.append(Y[:, row, column])
    log_w = np.concatenate(logs)
    log_w = np.where(np.isfinite(log_w), log_w, -np.inf)  # a run that failed carries no weight
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    ess, tail = float(1 / np.sum(weights**2)), float(pareto_k(log_w[np.isfinite(log_w)]))
    method, trusted = "reweighted", p.trusted
    if ess >= FEWEST and tail < HIGHEST_K:
        shares = np.split(weights, np.cumsum([len(v) for v in levels])[:-1])
        law = mixture([(part, f, w) for (part, _, _), f, w in zip(parts, levels, shares)], m.output)
    else:
        again = _without(p, i)
        law, ess, method, trusted = predictive(again, m), again.ess(), "refitted", again.trusted
    facts = {"ess": ess, "pareto_k": tail, "method": method, "trusted": trusted}
    return _judge(p, m, count, law, facts)


def _judge(p: Posterior, m: Measurement, count: int, law: Predictive, facts: dict[str, Any]) -> Reading:
    below, above = law.tails(m.value)
    pit, two_sided = (0.5 * below, below) if m.censored else (below, 2 * min(below, above))
    two_sided, band = min(1.0, two_sided), law.quantiles()
    best = max(parts_of(p, m.output), key=lambda item: item[1])[0]
    verdict, sentence = _verdict(m, best.model.output(m.output).unit, two_sided, count, band, best.model.time_unit)
    if not facts["trusted"]:
        sentence += f" (a rough judgement: {facts['ess']:.0f} effective draws)"
    ipred, iwres = _at_map(best, m)
    return Reading(
        measurement=m,
        ipred=ipred,
        iwres=iwres,
        expected=float(band[1]),
        low=float(band[0]),
        high=float(band[2]),
        pit=pit,
        p=two_sided,
        p_adjusted=min(1.0, two_sided * count),
        log_density=float(np.log(max(below, TINY))) if m.censored else law.log_density(m.value),
        verdict=verdict,
        sentence=sentence,
        **facts,
    )


def _at_map(part: ModelPosterior, m: Measurement) -> tuple[float, float | None]:
    row = part.layout.measurements.index(m)
    f = float(outputs_of(part, part.map[None, :])[0, row, part.model.names("outputs").index(m.output)])
    residual = part.model.output(m.output).residual
    if m.censored or residual is None:
        return f, None
    size = float(spread(np.array([f]), residual)[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.log(m.value) - np.log(f) if kind_of(residual)[0] == LOG else m.value - f
        return f, float(np.divide(error, size))


@dataclass(frozen=True)
class Shrinkage:
    """Shrinkage over a population (Savic & Karlsson 2009).

    Attributes:
        eta: for each effect 1 − SD(MAP estimates)/ω; those of all occasions of an effect are pooled.
        epsilon: 1 − SD(IWRES) over all uncensored readings.
        patients, readings: how many it rests on.
    """

    eta: dict[str, float]
    epsilon: float
    patients: int
    readings: int


def shrinkage(posteriors: Sequence[Posterior], model: str | None = None) -> Shrinkage:
    """Shrinkage of a population's fits under one model (default the first).

    Raises:
        RecordError: fewer than two patients or two readings, or a model that some posterior lacks.
    """
    wanted = model or (posteriors[0].parts[0].model.id if posteriors else "")
    parts = [part for p in posteriors for part in p.parts if part.model.id == wanted]
    if len(parts) < 2 or len(parts) < len(posteriors):
        raise RecordError(f"shrinkage under '{wanted}' needs two patients or more, all fitted with it")
    estimates: dict[str, list[float]] = {}
    for part in parts:
        for name, value in zip(part.layout.effects.names, part.map):
            estimates.setdefault(name.split("@")[0], []).append(float(value))
    omega = dict(zip(parts[0].model.names("effects"), np.sqrt(np.diag(parts[0].model.omega))))
    iwres = [e for part in parts for m in part.layout.measurements if (e := _at_map(part, m)[1]) is not None]
    if len(iwres) < 2:
        raise RecordError("ε-shrinkage needs two readings or more")
    eta = {name: float(1 - np.std(values, ddof=1) / omega[name]) for name, values in estimates.items()}
    return Shrinkage(eta, float(1 - np.std(iwres, ddof=1)), len(parts), len(iwres))
