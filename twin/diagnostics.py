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

import numpy as np
from scipy.special import ndtr

from ..pkpd.errors import RecordError
from ..pkpd.record import Measurement
from ..pkpd.simulate import weighted_quantiles
from .cohort import Cohort
from .layout import lay_out
from .likelihood import LOG, TINY, kind_of, spread, total_of_many
from .posterior import ModelPosterior, Posterior, posterior
from .sampling import pareto_k

__all__ = ["Diagnostics", "Predictive", "Reading", "Shrinkage", "diagnose", "predictive", "shrinkage"]

SURPRISING, IMPLAUSIBLE = 0.05, 0.001  # of p times the number of readings
FEWEST, HIGHEST_K = 200.0, 0.7  # effective draws and tail index beyond which reweighting is not believed
NEGLIGIBLE = 1e-6  # a model of less weight is left out


@dataclass(frozen=True)
class Predictive:
    """The law of one reading, residual error included: a mixture of one normal (or log-normal) law for each draw.

    Attributes:
        values: (draws,) the true level of each draw.
        noise: (draws,) standard deviation of a reading, of its logarithm where ``log`` holds.
        log: (draws,) whether the residual error is log-normal.
        weights: (draws,), summing to 1.
    """

    values: np.ndarray
    noise: np.ndarray
    log: np.ndarray
    weights: np.ndarray

    def _z(self, y: np.ndarray) -> np.ndarray:
        """Standardised distance of each ``y`` from each draw, (y, draws)."""
        y, size = y[:, None], np.maximum(self.noise, TINY)
        if not self.log.any():
            return (y - self.values) / size
        logs = np.log(np.maximum(y, TINY)) - np.log(np.maximum(self.values, TINY))
        return np.where(self.log, np.where(y > 0, logs, -np.inf), y - self.values) / size

    def cdf(self, y: float | np.ndarray) -> np.ndarray:
        """Probability of a reading below ``y``, for each of them."""
        return ndtr(self._z(np.atleast_1d(np.asarray(y, dtype=float)))) @ self.weights

    def quantiles(self, probabilities: Sequence[float] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Quantiles of a reading, of the exact mixture: no noise is drawn, (probabilities,)."""
        wanted = np.asarray(probabilities, dtype=float)
        far = np.where(self.log, self.values * np.exp(10 * self.noise), self.values + 10 * self.noise)
        near = np.where(self.log, 0.0, self.values - 10 * self.noise)
        low, high = np.full(len(wanted), near.min()), np.full(len(wanted), far.max())
        y = weighted_quantiles(self.values[:, None], self.weights, wanted)[:, 0]
        for _ in range(200):  # Newton's steps, halving where they leave the bracket
            z = self._z(y)
            slope = np.exp(-0.5 * z * z) / (np.maximum(self.noise, TINY) * np.sqrt(2 * np.pi))
            slope = np.where(self.log, slope / np.maximum(y, TINY)[:, None], slope) @ self.weights
            error = ndtr(z) @ self.weights - wanted
            low, high = np.where(error < 0, y, low), np.where(error < 0, high, y)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                step = y - error / slope
            step = np.where((step > low) & (step < high), step, 0.5 * (low + high))
            moved, y = np.abs(step - y), step
            if np.all(moved <= 1e-10 * np.abs(y) + TINY):
                break
        return y


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


def _parts(p: Posterior, output: str | None = None) -> list[tuple[ModelPosterior, float]]:
    """The models that matter (and have this output), with their weights."""
    return [
        (part, float(w))
        for part, w in zip(p.parts, p.model_weights)
        if w > NEGLIGIBLE and (output is None or output in part.model.names("outputs"))
    ]


def _outputs(part: ModelPosterior, eta: np.ndarray, measurements: Sequence[Measurement] | None = None) -> np.ndarray:
    """Outputs at the record's measurements (or these), (draws, measurements, outputs); NaN where a run failed."""
    layout = part.layout
    if measurements is not None:
        now = max(layout.record.now, *(m.time for m in measurements))
        layout = lay_out(part.model, replace(layout.record, observed=tuple(measurements), now=now))
    Y, status = Cohort([layout]).points(np.zeros(len(eta), dtype=np.int64)).run(eta)
    Y = Y.reshape(len(eta), len(layout.measurements), -1)[:, :, : len(part.model.outputs)]
    return np.where((status == 0)[:, None, None], Y, np.nan)


def _law(pieces: Sequence[tuple[ModelPosterior, np.ndarray, np.ndarray]], output: str) -> Predictive:
    """The mixture over (model, levels (draws,), weights (draws,))."""
    values, noise, log, weights = [], [], [], []
    for part, f, w in pieces:
        residual = part.model.output(output).residual
        if residual is None:
            raise RecordError(f"model '{part.model.id}' has no residual error for output '{output}'")
        keep = (w > 0) & np.isfinite(f)
        values.append(f[keep])
        noise.append(spread(f[keep], residual))
        log.append(np.full(int(keep.sum()), kind_of(residual)[0] == LOG))
        weights.append(w[keep])
    w = np.concatenate(weights)
    return Predictive(np.concatenate(values), np.concatenate(noise), np.concatenate(log), w / w.sum())


def predictive(p: Posterior, measurement: Measurement) -> Predictive:
    """The law of a reading that is not in the posterior's record, averaged over rival models.

    Args:
        p: the posterior; doses of its record up to the reading count, in the order of time and rows.
        measurement: when, of what, and its place among events of the same moment; its value is not looked at.

    Raises:
        RecordError: no model has the output.
    """
    parts = _parts(p, measurement.output)
    if not parts:
        raise RecordError(f"no model predicts '{measurement.output}'")
    pieces = []
    for part, w in parts:
        Y = _outputs(part, part.eta, [measurement])
        pieces.append((part, Y[:, 0, part.model.names("outputs").index(measurement.output)], w * part.weights))
    return _law(pieces, measurement.output)


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

    Raises:
        SolverError: a fit without one of the readings that failed.
    """
    record = p.record
    predicted = {id(part): _outputs(part, part.eta) for part, _ in _parts(p)} if record.observed else {}
    readings = []
    for i, m in enumerate(record.observed):
        parts = _parts(p, m.output)
        best = max(parts, key=lambda item: item[1])[0]
        unit = best.model.output(m.output).unit
        rows = [part.layout.measurements.index(m) for part, _ in parts]
        # −log likelihood is inf where a run failed, and there the weight is 0 already
        logs, levels = [], []
        for (part, w), row in zip(parts, rows):
            Y = predicted[id(part)]
            with np.errstate(divide="ignore"):
                logs.append(
                    np.where(part.weights > 0, np.log(w * part.weights) + _deviations(part, Y, row, m), -np.inf)
                )
            levels.append(Y[:, row, part.model.names("outputs").index(m.output)])
        log_w = np.concatenate(logs)
        log_w = np.where(np.isfinite(log_w), log_w, -np.inf)
        weights = np.exp(log_w - log_w.max())
        weights /= weights.sum()
        ess, tail = float(1 / np.sum(weights**2)), pareto_k(log_w[np.isfinite(log_w)])
        method, trusted = "reweighted", p.trusted
        cuts = np.cumsum([len(v) for v in levels])[:-1]
        law = _law([(part, f, w) for (part, _), f, w in zip(parts, levels, np.split(weights, cuts))], m.output)
        if ess < FEWEST or tail >= HIGHEST_K:
            again = _without(p, i)
            law, ess, method, trusted = predictive(again, m), again.ess(), "refitted", again.trusted
        below = float(law.cdf(m.value)[0])
        pit = 0.5 * below if m.censored else below
        two_sided = min(1.0, 2 * min(pit, 1 - pit))
        band = law.quantiles()
        verdict, sentence = _verdict(m, unit, two_sided, len(record.observed), band, best.model.time_unit)
        if not trusted:
            sentence += f" (a rough judgement: {ess:.0f} effective draws)"
        ipred, iwres = _at_map(best, m)
        readings.append(
            Reading(m, ipred, iwres, float(band[1]), float(band[0]), float(band[2]), pit, two_sided,
                    min(1.0, two_sided * len(record.observed)), ess, float(tail), method, trusted, verdict, sentence)
        )  # fmt: skip
    return Diagnostics(
        tuple(readings),
        p.best.model.id,
        {part.model.id: float(w) for part, w in zip(p.parts, p.model_weights)},
        {name: float(v) for name, v in p.best.information().items()},
        (*p.notes, *(r.sentence for r in readings if r.verdict != "consistent")),
    )


def _at_map(part: ModelPosterior, m: Measurement) -> tuple[float, float | None]:
    row = part.layout.measurements.index(m)
    f = float(_outputs(part, part.map[None, :])[0, row, part.model.names("outputs").index(m.output)])
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
