"""What the twin expects: forecasts with bands, and what-if comparisons of regimens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd.engine import STATUS
from ..pkpd.errors import SolverError
from ..pkpd.regimen import Regimen
from ..pkpd.simulate import weighted_quantiles
from .cohort import Cohort
from .layout import lay_out
from .likelihood import LOG, kind_of, spread
from .posterior import ModelPosterior, Posterior

__all__ = ["Forecast", "compare", "forecast", "predict"]


@dataclass(frozen=True)
class Forecast:
    """Predictions of one output over time, draw by draw.

    Attributes:
        times: (T,); ``output``, ``unit``: what; ``time_unit``.
        values: (draws, T), what the true level may be; ``weights`` (draws,), summing to 1.
        integrals: (draws, T), ∫output dt from the record's first event.
        noise: (draws, T) standard deviation of a reading, of its logarithm where ``log_noise`` (draws,) holds.
        regimen: the doses after now.
    """

    times: np.ndarray
    output: str
    unit: str
    time_unit: str
    values: np.ndarray
    integrals: np.ndarray
    noise: np.ndarray
    log_noise: np.ndarray
    weights: np.ndarray
    regimen: Regimen

    def quantiles(self, probabilities: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> np.ndarray:
        """Quantiles of the true level, (probabilities, T)."""
        return weighted_quantiles(self.values, self.weights, probabilities)

    def readings(self, seed: int = 0) -> np.ndarray:
        """What a measurement may show, residual error included: one for each draw and time, (draws, T)."""
        z = np.random.Generator(np.random.Philox([seed, 3])).standard_normal(self.values.shape)
        log = self.log_noise[:, None]
        return np.where(log, self.values * np.exp(np.where(log, self.noise, 0) * z), self.values + self.noise * z)

    def auc(self, start: float, stop: float) -> np.ndarray:
        """Area under the curve between two of the times, for each draw, (draws,).

        Raises:
            KeyError: a time that was not asked for.
        """
        i, k = (np.flatnonzero(np.isclose(self.times, t, rtol=0, atol=1e-9)) for t in (start, stop))
        if not len(i) or not len(k):
            raise KeyError(f"the forecast has no time {start if not len(i) else stop}")
        return self.integrals[:, k[0]] - self.integrals[:, i[0]]

    def at(self, time: float) -> np.ndarray:
        """The level at one of the times, for each draw, (draws,)."""
        i = np.flatnonzero(np.isclose(self.times, time, rtol=0, atol=1e-9))
        if not len(i):
            raise KeyError(f"the forecast has no time {time}")
        return self.values[:, i[0]]


def predict(
    part: ModelPosterior, eta: np.ndarray, future: Regimen | None, times: np.ndarray, integrals: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs at ``times`` for these draws of one model, and their integrals, each (draws, T, outputs)."""
    layout = lay_out(part.model, part.layout.record, future, times)
    points = Cohort([layout]).points(np.zeros(len(eta), dtype=np.int64), integrals=integrals)
    Y, status = points.run(eta)
    if status.any():
        raise SolverError(f"model '{part.model.id}': {STATUS[int(status[status > 0][0])]}")
    n, ny = len(layout.measurements), len(part.model.outputs)
    Y = Y.reshape(len(eta), -1, Y.shape[1])[:, n:]
    return Y[:, :, :ny], Y[:, :, ny : 2 * ny]


def forecast(
    posterior: Posterior,
    regimen: Regimen | None = None,
    until: float | None = None,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    output: str | None = None,
    draws: int | None = None,
) -> Forecast:
    """Forecast a patient under a regimen.

    Args:
        posterior: from :func:`sync`.
        regimen: doses after now (none: what happens if nothing more is given).
        until: end of the forecast; default 24 time units after the last dose or now.
        times: when to look; default a grid from the first fact to ``until``.
        output: which output; default the first that was measured, else the model's first.
        draws: how many equally weighted draws; default all weighted ones.

    Raises:
        SolverError: a prediction that failed.
    """
    regimen = regimen or Regimen()
    record = posterior.record
    first = min([record.now, *(e.time for e in record.given.events), *(m.time for m in record.observed)])
    if until is None:
        until = max([record.now, *(d.last for d in regimen.doses)]) + 24.0
    if times is None:
        grid = np.linspace(first, until, 241)
        times = np.unique(np.concatenate([grid, [m.time for m in record.observed], [record.now]]))
    times = np.asarray(times, dtype=float)
    chosen: list[tuple[ModelPosterior, np.ndarray, np.ndarray]] = []
    if draws is None:
        for p, w in zip(posterior.parts, posterior.model_weights):
            if w > 1e-6:
                chosen.append((p, p.eta, p.weights * w))
    else:
        chosen = [(p, eta, np.full(len(eta), 1 / draws)) for p, eta in posterior.equal_draws(draws)]
    model = chosen[0][0].model
    output = output or (record.observed[0].output if record.observed else model.outputs[0].name)
    values, sums, noise, logs, weights = [], [], [], [], []
    for part, eta, w in chosen:
        k = part.model.names("outputs").index(output)
        Y, S = predict(part, eta, regimen, times)
        residual = part.model.outputs[k].residual
        values.append(Y[:, :, k])
        sums.append(S[:, :, k])
        noise.append(np.zeros_like(Y[:, :, k]) if residual is None else spread(Y[:, :, k], residual))
        logs.append(np.full(len(eta), residual is not None and kind_of(residual)[0] == LOG))
        weights.append(w)
    w = np.concatenate(weights)
    return Forecast(
        times,
        output,
        model.output(output).unit,
        model.time_unit,
        np.concatenate(values),
        np.concatenate(sums),
        np.concatenate(noise),
        np.concatenate(logs),
        w / w.sum(),
        regimen,
    )


def compare(posterior: Posterior, regimens: Sequence[Regimen], **options: object) -> list[Forecast]:
    """One forecast for each regimen, on the same draws and times: what if?"""
    last = max([posterior.record.now, *(d.last for r in regimens for d in r.doses)]) + 24.0
    options.setdefault("until", last)
    return [forecast(posterior, r, **options) for r in regimens]  # type: ignore[arg-type]
