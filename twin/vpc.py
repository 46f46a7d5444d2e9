"""Visual predictive checks: percentiles of the data over time, beside those of the data set simulated many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..pkpd.errors import RecordError
from ..pkpd.model import Model
from ..pkpd.record import Record
from .cohort import Cohort
from .layout import lay_out
from .likelihood import LOG, kind_of, spread

__all__ = ["Vpc", "plot_vpc", "vpc"]

SEED_STEP = 1_000_003  # apart the seeds of neighbours: no two patients share their draws
FEWEST = 5  # levels in a bin: percentiles of fewer say nothing


def axes_for(where: Any, width: float, height: float, panels: int = 1) -> tuple[list[Any], Any]:
    """Axes to draw on, and the figure to save (None where the caller brought the axes)."""
    if not isinstance(where, str | Path):
        return ([where] if panels == 1 else list(where)), None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return list(np.atleast_1d(figure.subplots(1, panels, sharex=True, sharey=True))), figure


@dataclass(frozen=True)
class Vpc:
    """A visual predictive check.

    Attributes:
        time, level: (levels,) of the data, ``level`` prediction-corrected if asked for; ``edges`` (bins + 1,) of time.
        middle: (bins,) median time; ``count`` (bins,) levels.
        percentiles: (3,) which, %.
        observed: (3, bins) percentiles of the data.
        simulated: (3, 3, bins): for each percentile the 2.5 %, 50 % and 97.5 % quantile over replicates.
        corrected: whether prediction-corrected (Bergstrand and others 2011).
    """

    output: str
    unit: str
    time_unit: str
    time: np.ndarray
    level: np.ndarray
    edges: np.ndarray
    middle: np.ndarray
    count: np.ndarray
    percentiles: tuple[float, float, float]
    observed: np.ndarray
    simulated: np.ndarray
    corrected: bool
    replicates: int


def _simulated(
    models: Sequence[Model], record: Record, output: str, shares: np.ndarray, replicates: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Typical predictions (levels,) and simulated readings (replicates, levels) of one record."""
    levels = [m for m in record.observed if m.output == output]
    typical, readings = np.zeros(len(levels)), np.zeros((replicates, len(levels)))
    of_model = rng.choice(len(models), size=replicates, p=shares)
    for k, model in enumerate(models):
        layout = lay_out(model, replace(record, observed=tuple(levels)))
        mine, omega = np.flatnonzero(of_model == k), layout.effects.omega
        z = rng.standard_normal((len(mine), len(omega)))
        eta = np.vstack([np.zeros(len(omega)), z @ np.linalg.cholesky(omega).T])
        Y, status = Cohort([layout]).points(np.zeros(len(eta), dtype=np.int64)).run(eta)
        if status.any():
            raise RecordError(f"record {record.id!r}: model '{model.id}' could not be simulated")
        f = Y.reshape(len(eta), len(levels), -1)[:, :, model.names("outputs").index(output)]
        residual = model.output(output).residual
        if residual is None:
            raise RecordError(f"model '{model.id}' has no residual error for output '{output}'")
        noise = spread(f[1:], residual) * rng.standard_normal(f[1:].shape)
        typical += shares[k] * f[0]
        readings[mine] = f[1:] * np.exp(noise) if kind_of(residual)[0] == LOG else f[1:] + noise
    return typical, readings


def _edges(t: np.ndarray, bins: int) -> np.ndarray:
    """Edges of bins with about equally many levels each, none narrower than a fiftieth of the range."""
    wanted = np.quantile(t, np.linspace(0, 1, min(bins, max(1, len(t) // FEWEST)) + 1))
    least, kept = (wanted[-1] - wanted[0]) / 50, [wanted[0]]
    for edge in wanted[1:-1]:
        some = np.any((t >= kept[-1]) & (t < edge))
        if some and edge - kept[-1] > least and wanted[-1] - edge > least:
            kept.append(edge)
    return np.array([*kept, wanted[-1] if wanted[-1] > wanted[0] else wanted[0] + 1.0])


def vpc(
    models: Sequence[Model],
    records: Sequence[Record],
    *,
    output: str | None = None,
    prior_weights: Sequence[float] | None = None,
    corrected: bool = True,
    bins: int = 8,
    replicates: int = 500,
    seed: int = 0,
) -> Vpc:
    """Simulate the whole data set many times, between-subject variability and residual error included.

    Time runs from each record's first event. Bins hold about equally many levels. A censored level stands at its LLOQ,
    in the data and (where lower) in the simulations.

    Args:
        models: rival models; each replicate of a patient draws one by ``prior_weights`` (default equal).
        records: the data set.
        output: which output; default the first one measured.
        corrected: bring levels to the typical prediction of their bin (Bergstrand and others 2011).
        bins: at the most; fewer where levels crowd in time or are few (5 in a bin at least, on average).
        replicates: of the data set.
        seed: of the simulations.

    Raises:
        RecordError: no level of the output.
    """
    output = output or next((m.output for r in records for m in r.observed), "")
    some = [r for r in records if any(m.output == output for m in r.observed)]
    if not some:
        raise RecordError(f"no record has a level of '{output}'" if output else "no record has a level")
    shares = np.ones(len(models)) if prior_weights is None else np.asarray(prior_weights, dtype=float)
    shares = shares / shares.sum()
    time, level, typical, readings = [], [], [], []
    for i, record in enumerate(some):
        rng = np.random.Generator(np.random.Philox([seed * SEED_STEP + i, 9]))
        levels = [m for m in record.observed if m.output == output]
        start = min([levels[0].time, *(e.time for e in record.given.events[:1])])
        f, y = _simulated(models, record, output, shares, replicates, rng)
        floor = np.array([m.value if m.censored else -np.inf for m in levels])
        time += [m.time - start for m in levels]
        level += [m.value for m in levels]
        typical.append(f)
        readings.append(np.maximum(y, floor))
    t, y, f, sim = np.array(time), np.array(level), np.concatenate(typical), np.concatenate(readings, axis=1)
    edges = _edges(t, bins)
    which = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, len(edges) - 2)
    used = np.unique(which)
    if corrected:
        for b in used:
            mine = which == b
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(f[mine] > 0, np.median(f[mine]) / f[mine], 1.0)
            y[mine], sim[:, mine] = y[mine] * factor, sim[:, mine] * factor
    percentiles = (5.0, 50.0, 95.0)
    observed = np.stack([np.percentile(y[which == b], percentiles) for b in used], axis=1)
    each = np.stack([np.percentile(sim[:, which == b], percentiles, axis=1) for b in used], axis=2)
    simulated = np.moveaxis(np.quantile(each, (0.025, 0.5, 0.975), axis=1), 0, 1)
    unit = models[0].output(output).unit
    middle = np.array([np.median(t[which == b]) for b in used])
    return Vpc(
        output=output,
        unit=unit,
        time_unit=models[0].time_unit,
        time=t,
        level=y,
        edges=edges,
        middle=middle,
        count=np.bincount(which),
        percentiles=percentiles,
        observed=observed,
        simulated=simulated,
        corrected=corrected,
        replicates=replicates,
    )


def plot_vpc(models: Sequence[Model], records: Sequence[Record], where: str | Path | Any, **options: Any) -> Vpc:
    """Draw a `vpc` (its options apply) to a file or on matplotlib axes, and return it.

    Bands: where the data's 5th, 50th and 95th percentiles should lie (95 % of replicates); lines: where they lie.
    """
    v = vpc(models, records, **options)
    (ax,), figure = axes_for(where, 7.0, 5.0)
    names = ("5th and 95th percentiles", "median", None)
    for i, (name, shade, style) in enumerate(zip(names, ("0.88", "0.68", "0.88"), ("--", "-", "--"))):
        low, _, high = v.simulated[i]
        label = name and f"simulated {name}, 95 % of replicates"
        ax.stairs(high, v.edges, baseline=low, fill=True, facecolor=shade, edgecolor="0.5", linewidth=0.5, label=label)
        ax.plot(
            v.middle, v.observed[i], style, color="black", marker="s", markersize=4, linewidth=1.2,
            label=name and f"observed {name}",
        )  # fmt: skip
    ax.plot(v.time, v.level, "o", color="0.3", markerfacecolor="none", markersize=3, markeredgewidth=0.6, label="level")
    ax.set(
        xlabel=f"time since the first dose ({v.time_unit})",
        ylabel=f"{'prediction-corrected ' if v.corrected else ''}{v.output} ({v.unit})",
        title=f"{'Prediction-corrected v' if v.corrected else 'V'}isual predictive check, {v.replicates} replicates",
        ylim=(0, None),
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8, frameon=False)
    if figure is not None:
        figure.savefig(where, dpi=150)
    return v
