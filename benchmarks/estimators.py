"""The three estimators over held-out patients: coverage, error, consistency and time (docs/following.md).

    python benchmarks/estimators.py [--patients 300] [--slow 60] [--only glucose|propofol]

Tuned on the split "train", reported on "test".
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.twin.follow import Follow
from doseloop.twin.follower import Follower
from doseloop.twin.known import conditioned
from doseloop.virtual.ratios import ratios
from followed import Recorded

__all__ = ["Scores", "known_of", "run"]

Z = 1.6448536269514722


def known_of(model_id: str, recorded: Recorded, draws: int = 1500, error: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Prior of each patient's effects given basal rate, carbohydrate ratio and correction factor; weight apart."""
    model, people = load(model_id), recorded.people
    k, n = people.known, len(people)
    mean, covariance = np.zeros((n, len(model.effects))), np.zeros((n, len(model.effects), len(model.effects)))
    for group in range(3):
        rng = np.random.Generator(np.random.Philox(key=[5, group]))
        eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, draws)
        weight = [75.0, 58.0, 32.0][group]
        values = {"weight": weight, "group": float(group)}
        p = individuals(model, [{c: values[c] for c in model.names("covariates")}] * draws, eta)
        r = ratios(model, p)
        basal = p[:, list(model.individual_units).index("basal")]
        features = np.log(np.column_stack([basal / weight, r.carb_ratio * weight, r.correction * weight]))
        ok = np.isfinite(features).all(axis=1) & (r.carb_ratio < 100)
        who = k["group"] == group
        w = k["weight"][who]
        known = np.log(np.column_stack([k["basal"][who] / w, k["carb_ratio"][who] * w, k["correction"][who] * w]))
        if who.any():
            mean[who], covariance[who] = conditioned(eta[ok], features[ok], known, error, model.omega)
    return mean, covariance


@dataclass
class Scores:
    """Of one run; bands of 90 %."""

    name: str
    ahead: tuple[int, ...]
    cover_next: float
    cover_reading: tuple[float, ...]
    cover_truth: tuple[float, ...]  # now, then ahead
    rmse_next: float
    rmse_truth: tuple[float, ...]
    width: tuple[float, ...]  # mean half width of the truth's band: now, then ahead
    nis: float
    gated: float
    widened: float
    wide: float
    per_step: float
    surprise: tuple[float, ...]  # mean negative log density of the truth: now, then ahead
    next_surprise: float  # of the next reading

    def line(self) -> str:
        """One line of a table."""
        f = lambda v: " ".join(f"{100 * x:5.1f}" for x in v)  # noqa: E731
        g = lambda v: " ".join(f"{x:5.1f}" for x in v)  # noqa: E731
        return (
            f"{self.name:34s} next {100 * self.cover_next:5.1f} | reading {f(self.cover_reading)} "
            f"| truth {f(self.cover_truth)} | rmse {self.rmse_next:5.1f} truth {g(self.rmse_truth)} "
            f"| ± {g(self.width)} | nis {self.nis:4.2f} gated {100 * self.gated:4.2f} % widened {self.widened:4.2f} "
            f"wide {self.wide:4.2f} | {1e3 * self.per_step:6.3f} ms | {np.mean(self.surprise):6.3f} {self.next_surprise:6.3f}"
        )


def run(
    name: str,
    follow: Follow,
    data: Recorded,
    ahead: tuple[int, ...],
    every: int,
    skip: int,
    prior: tuple[np.ndarray, np.ndarray] | None = None,
    patients: int | None = None,
    method: str = "ukf",
    **options: int,
) -> Scores:
    """Follow everybody; at each step the next reading's band, each ``every`` steps bands ``ahead`` intervals on."""
    n = patients or len(data.people)
    k = data.people.known | {"opioid": np.ones(len(data.people)), "venous": np.zeros(len(data.people))}
    covariates = np.column_stack([k[c][:n] for c in follow.model.names("covariates")])
    given = {} if prior is None else {"mean": prior[0][:n], "covariance": prior[1][:n]}
    f = Follower(follow, covariates, time=0.0, method=method, **given, **options)
    u = data.inputs(follow.signals)[:, :n]
    reading, stamp, quality, truth = (a[:, :n] for a in (data.reading, data.time, data.quality, data.truth))
    f.observe(reading[0], stamp[0], quality[0])
    hits, tests, squares, widths, errors, logs = [], [], [], [], [], []
    spent, T = 0.0, len(u)
    low, high = follow.sensor.low or 0.0, follow.sensor.high or 1e9
    nis, wide = [], []
    for i in range(T):
        t = time.perf_counter()
        b = f.step(u[i], reading[i + 1], stamp[i + 1], quality[i + 1])
        spent += time.perf_counter() - t
        if i < skip:
            continue
        y = truth[i + 1]
        used = (b.fate == 0) | (b.fate == 3) | (b.fate == 4)
        nis.append(b.innovation[used] ** 2)
        errors.append((b.innovation[used] * b.expected_sd[used]) ** 2)
        wide.append(b.wideness)
        squares.append((b.truth - y) ** 2)
        widths.append(Z * b.truth_sd)
        logs.append(_surprise(y, b.truth, b.truth_sd))
        hits.append(np.abs(b.truth - y) <= Z * b.truth_sd)
        if (i - skip) % every == 0 and i + max(ahead) < T:
            bands = f.predict(u[i + 1 : i + 1 + max(ahead)].transpose(1, 0, 2))
            row = []
            for h in ahead:
                to, seen = truth[i + 1 + h], reading[i + 1 + h]
                good = (seen > low) & (seen < high) & (quality[i + 1 + h] >= max(follow.sensor.quality, 1))
                inside = (seen >= bands.low[:, h - 1]) & (seen <= bands.high[:, h - 1])
                row.append((
                    inside[good].sum(), good.sum(),
                    ((to >= bands.truth_low[:, h - 1]) & (to <= bands.truth_high[:, h - 1])).mean(),
                    ((bands.truth[:, h - 1] - to) ** 2).mean(), (Z * bands.truth_sd[:, h - 1]).mean(),
                    _surprise(to, bands.truth[:, h - 1], bands.truth_sd[:, h - 1]).mean(),
                ))  # fmt: skip
            tests.append(row)
    tests_a = np.array(tests)
    nis_a = np.concatenate(nis)
    return Scores(
        name,
        ahead,
        float((np.sqrt(nis_a) <= Z).mean()),
        tuple(tests_a[:, :, 0].sum(0) / tests_a[:, :, 1].sum(0)),
        (float(np.mean(hits)), *tests_a[:, :, 2].mean(0)),
        float(np.sqrt(np.mean(np.concatenate(errors)))),
        (float(np.sqrt(np.mean(squares))), *np.sqrt(tests_a[:, :, 3].mean(0))),
        (float(np.mean(widths)), *tests_a[:, :, 4].mean(0)),
        float(nis_a.mean()),
        float(b.gated.sum() / (n * T)),
        float(b.widened.mean()),
        float(np.mean(wide)),
        spent / n / T,
        (float(np.mean(logs)), *tests_a[:, :, 5].mean(0)),
        -float(b.log_evidence.mean() / T),
    )


def _surprise(y: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Negative log density of a normal law."""
    sd = np.maximum(sd, 1e-6)
    return 0.5 * ((y - mean) / sd) ** 2 + np.log(sd) + 0.5 * np.log(2 * np.pi)
