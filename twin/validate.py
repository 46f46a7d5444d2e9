"""Prediction of real levels, forward in time, against what was then measured.

Every level is predicted twice: from the population (prior and covariates), and from all earlier levels of that patient.
Nothing that came later is looked at: the record is cut before each level, and only the doses given up to it count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..pkpd.errors import RecordError
from ..pkpd.model import Model
from ..pkpd.record import CovariateRow, Measurement, Record
from .posterior import posterior
from .predictive import predictive
from .vpc import SEED_STEP, axes_for, plot_vpc

__all__ = [
    "Estimate",
    "Prediction",
    "Summary",
    "Validation",
    "plot_predicted_vs_observed",
    "plot_vpc",
    "walk_forward",
]


@dataclass(frozen=True)
class Prediction:
    """One level and its two predictions.

    Attributes:
        patient: the record's id; ``time``, ``observed`` (the LLOQ when ``censored``).
        earlier: how many levels of this patient came before it.
        population, population_low, population_high: median and 90 % band of a reading from the population.
        individual, individual_low, individual_high: the same from all earlier levels too (equal where there are none).
    """

    patient: str
    time: float
    observed: float
    censored: bool
    earlier: int
    population: float
    population_low: float
    population_high: float
    individual: float
    individual_low: float
    individual_high: float


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval by bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True)
class Summary:
    """Errors of a set of predictions; relative ones are (predicted − observed) / observed.

    Attributes:
        levels, patients: how many; censored levels and zeros count in ``coverage`` only.
        mpe, mape: mean and mean absolute relative error, %.
        rmse: root mean squared error, in the output's unit.
        coverage: levels in the 90 % band, %.
        within20, within30: predictions within ±20 % and ±30 % of the level, % of levels.
    """

    levels: int
    patients: int
    mpe: Estimate
    mape: Estimate
    rmse: Estimate
    coverage: Estimate
    within20: Estimate
    within30: Estimate


@dataclass(frozen=True)
class Validation:
    """A walk forward through all patients.

    Attributes:
        models: ids; ``output``, ``unit``, ``time_unit``: what was predicted.
        predictions: one for each level.
        population: (a) every level from the population.
        population_same: (a) on the levels of (b).
        individual: (b) levels that have an earlier one, predicted from those.
        gain: MAPE of (b) over MAPE of (a) on the same levels (below 1: the twin learns), with paired bootstrap.
    """

    models: tuple[str, ...]
    output: str
    unit: str
    time_unit: str
    predictions: tuple[Prediction, ...]
    population: Summary
    population_same: Summary | None
    individual: Summary | None
    gain: Estimate | None

    def table(self) -> str:
        """The summary as text."""
        columns: list[tuple[str, Summary]] = [("population", self.population)]
        if self.population_same is not None and self.individual is not None:
            columns += [("population, same levels", self.population_same), ("earlier levels", self.individual)]
        rows = [
            ("levels (patients)", [f"{s.levels} ({s.patients})" for _, s in columns]),
            ("MPE, %", [str(s.mpe) for _, s in columns]),
            ("MAPE, %", [str(s.mape) for _, s in columns]),
            (f"RMSE, {self.unit}", [f"{s.rmse.value:.2f} ({s.rmse.low:.2f} to {s.rmse.high:.2f})" for _, s in columns]),
            ("in 90 % band, %", [str(s.coverage) for _, s in columns]),
            ("within 20 %, %", [str(s.within20) for _, s in columns]),
            ("within 30 %, %", [str(s.within30) for _, s in columns]),
        ]
        lines = [f"{'predicted from':<18}" + "".join(f"{name:>25}" for name, _ in columns)]
        lines += [f"{name:<18}" + "".join(f"{v:>25}" for v in values) for name, values in rows]
        if self.gain is not None:
            g = self.gain
            lines.append(f"MAPE from earlier levels / from the population: {g.value:.2f} ({g.low:.2f} to {g.high:.2f})")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)


def _known_before(record: Record, m: Measurement) -> Record:
    """The record just before a level is read: earlier levels, and the doses given up to it."""
    covariates = record.until(m.time).covariates
    if record.covariates and not covariates:  # the first row ends later: its values are all there is
        covariates = (CovariateRow(m.time, record.covariates[0].dict),)
    earlier = tuple(o for o in record.observed if o.time < m.time)
    return replace(record.until(m.time), covariates=covariates, observed=earlier)


def _walk(
    models: Sequence[Model], record: Record, output: str, weights: Sequence[float] | None, draws: int, seed: int
) -> Iterator[Prediction]:
    for m in record.observed:
        if m.output != output:
            continue
        known = _known_before(record, m)
        nothing = posterior(models, replace(known, observed=()), weights, draws, seed)
        low, median, high = (float(v) for v in predictive(nothing, m).quantiles())
        population = (median, low, high)
        individual = population
        if known.observed:
            learnt = posterior(models, known, weights, draws, seed)
            low, median, high = (float(v) for v in predictive(learnt, m).quantiles())
            individual = (median, low, high)
        earlier = sum(o.output == output for o in known.observed)
        yield Prediction(record.id, m.time, m.value, m.censored, earlier, *population, *individual)


def _sums(predictions: Sequence[Prediction], patients: Sequence[str], individual: bool) -> np.ndarray:
    """Sums over each patient's levels, (patients, 8): what every statistic is a ratio of."""
    sums = np.zeros((len(patients), 8))
    row = {p: i for i, p in enumerate(patients)}
    for p in predictions:
        value, low, high = (
            (p.individual, p.individual_low, p.individual_high)
            if individual
            else (p.population, p.population_low, p.population_high)
        )
        s = sums[row[p.patient]]
        s[0] += 1
        s[1] += low < p.observed if p.censored else low <= p.observed <= high
        if not p.censored and p.observed > 0:
            e = (value - p.observed) / p.observed
            s[2:] += (1, e, abs(e), (value - p.observed) ** 2, abs(e) <= 0.2, abs(e) <= 0.3)
    return sums


def _statistics(sums: np.ndarray) -> np.ndarray:
    """MPE, MAPE, RMSE, coverage, within 20 %, within 30 % of sums (..., 8)."""
    levels, covered, n, e, absolute, square, near, nearer = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                100 * e / n,
                100 * absolute / n,
                np.sqrt(square / n),
                100 * covered / levels,
                100 * near / n,
                100 * nearer / n,
            ],
            axis=-1,
        )


def _resample(patients: int, seed: int, times: int = 2000) -> np.ndarray:
    """How often each patient is drawn in each bootstrap replicate, (times, patients)."""
    rng = np.random.Generator(np.random.Philox([seed, 5]))
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=times)


def _interval(value: float, replicates: np.ndarray) -> Estimate:
    low, high = np.nanquantile(replicates, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))


def _summary(predictions: Sequence[Prediction], individual: bool, seed: int) -> Summary:
    patients = list(dict.fromkeys(p.patient for p in predictions))
    sums = _sums(predictions, patients, individual)
    value, spread_ = _statistics(sums.sum(axis=0)), _statistics(_resample(len(patients), seed) @ sums)
    return Summary(int(sums[:, 0].sum()), len(patients), *(_interval(v, spread_[:, i]) for i, v in enumerate(value)))


def walk_forward(
    models: Sequence[Model],
    records: Sequence[Record],
    *,
    output: str | None = None,
    prior_weights: Sequence[float] | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Predict each level of each patient from the population and from that patient's earlier levels.

    "Earlier" is earlier in time: of two levels drawn at once neither helps the other.

    Args:
        models: rival models, averaged.
        records: patients; their ids must differ.
        output: which output; default the first one measured.
        prior_weights, draws: as for `posterior`.
        seed: the same records, models and seed give the same numbers.
        progress: called with (patients done, patients) after each.

    Raises:
        RecordError: no level of that output, or two records with one id.
        SolverError: a fit that failed.
    """
    output = output or next((m.output for r in records for m in r.observed), "")
    if not any(m.output == output for r in records for m in r.observed):
        raise RecordError(f"no record has a level of '{output}'" if output else "no record has a level")
    if len({r.id for r in records}) < len(records):
        raise RecordError("two records have the same id: patients could not be told apart")
    predictions: list[Prediction] = []
    for i, record in enumerate(records):
        predictions += _walk(models, record, output, prior_weights, draws, seed * SEED_STEP + i)
        if progress is not None:
            progress(i + 1, len(records))
    later = [p for p in predictions if p.earlier]
    gain = None
    if later:
        patients = list(dict.fromkeys(p.patient for p in later))
        counts = _resample(len(patients), seed)
        a, b = (_sums(later, patients, individual) for individual in (False, True))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = _statistics(counts @ b)[:, 1] / _statistics(counts @ a)[:, 1]
            gain = _interval(_statistics(b.sum(axis=0))[1] / _statistics(a.sum(axis=0))[1], ratios)
    unit = next(o.unit for m in models for o in m.outputs if o.name == output)
    return Validation(
        tuple(m.id for m in models), output, unit, models[0].time_unit, tuple(predictions),
        _summary(predictions, False, seed),
        _summary(later, False, seed) if later else None,
        _summary(later, True, seed) if later else None,
        gain,
    )  # fmt: skip


def plot_predicted_vs_observed(validation: Validation, where: str | Path | Any) -> None:
    """Predicted against observed: left from the population, right from earlier levels; lines of identity and ±30 %.

    Args:
        validation: from `walk_forward`.
        where: a file to write, or two matplotlib axes to draw on.
    """
    axes, figure = axes_for(where, 9.0, 5.2, 2)
    v = validation
    later = [p for p in v.predictions if p.earlier]
    panels = (
        ("From the population", v.predictions, v.population, "population"),
        ("From the patient's earlier levels", later, v.individual, "individual"),
    )
    highest = 1.05 * max(max(p.observed, p.population, p.individual) for p in v.predictions)
    line = np.array([0.0, highest])
    for ax, (title, predictions, summary, name) in zip(axes, panels):
        ax.plot(line, line, color="black", linewidth=1.0, label="predicted = observed")
        for factor in (0.7, 1.3):
            label = "±30 %" if factor < 1 else None
            ax.plot(line, factor * line, color="black", linewidth=0.8, linestyle="--", label=label)
        for censored, marker, label in ((False, "o", "level"), (True, "<", "below the LLOQ")):
            points = [(p.observed, getattr(p, name)) for p in predictions if p.censored == censored]
            if points:
                x, y = zip(*points)
                ax.plot(x, y, marker, color="black", markerfacecolor="none", markersize=4, alpha=0.75, label=label)
        if summary is not None:
            text = (
                f"{summary.levels} levels, {summary.patients} patients\nMAPE {summary.mape.value:.1f} %\n"
                f"RMSE {summary.rmse.value:.2f} {v.unit}\nin 90 % band {summary.coverage.value:.0f} %"
            )
            ax.text(0.97, 0.04, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=8)
        ax.set(
            xlim=(0, highest), ylim=(0, highest), aspect="equal", title=title, xlabel=f"observed {v.output} ({v.unit})"
        )
    axes[0].set_ylabel(f"predicted {v.output} ({v.unit})")
    axes[0].legend(loc="upper left", fontsize=8, frameon=False)
    if figure is not None:
        figure.savefig(where, dpi=150)
