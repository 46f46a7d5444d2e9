"""The three estimators over held-out patients: coverage, error, consistency and time (docs/following.md).

    python benchmarks/estimators.py [--patients 300] [--slow 60] [--split test]
        [--only glucose propofol unannounced time]

Tuned on the split "train", reported on "test". The particle filter and the moving horizon follow the first ``--slow``
patients (and the sigma-point filter the same, to compare).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import RESULTS, save
from doseloop.models import load
from doseloop.twin.follow import Follow, Process
from doseloop.twin.follower import Follower
from doseloop.twin.horizon_casadi import CasadiWindow
from doseloop.twin.statements import follow_glucose, follow_propofol
from doseloop.virtual.glucose_prior import glucose_prior
from followed import Recorded, glucose_patients, propofol_patients, record_glucose, record_propofol

__all__ = ["Scores", "known_of", "run"]

Z = 1.6448536269514722


def known_of(model_id: str, recorded: Recorded) -> tuple[np.ndarray, np.ndarray]:
    """Prior of each patient's effects in a model, as the controller has it: from basal rate and ratios."""
    mean, covariance = glucose_prior(model_id)(recorded.people.known)
    return mean, np.repeat(covariance[None], len(mean), axis=0)


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
            f"wide {self.wide:4.2f} | {1e3 * self.per_step:6.3f} ms | {np.mean(self.surprise):6.3f} "
            f"{self.next_surprise:6.3f}"
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
        t = time.process_time()  # of all threads, on a machine that others use too
        b = f.step(u[i], reading[i + 1], stamp[i + 1], quality[i + 1])
        spent += time.process_time() - t
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


HOVORKA, UVA = "glucose_t1d_hovorka2004", "glucose_t1d_uvapadova2008"
ELEVELD, SCHNIDER = "propofol_eleveld2018", "propofol_remifentanil_bouillon2004"
SHORT = {HOVORKA: "Hovorka", UVA: "S2008", ELEVELD: "Eleveld", SCHNIDER: "Schnider"}
METHODS = {"ukf": {}, "particle": {"particles": 512}, "horizon": {"window": 24, "iterations": 2}}


def compare(names, statement, data, prior, ahead, every, skip, patients, slow, keep) -> None:
    """Every model as the estimator's and as the patient's; all patients by the filter, the first ``slow`` by all.

    ``keep`` is called with all scores so far after each run.
    """
    out = []
    kinds = [("ukf", patients, {})] + ([(m, slow, o) for m, o in METHODS.items()] if slow else [])
    for method, n, options in kinds:
        for mine, theirs in itertools.product(names, names):
            f, d = statement(load(mine)), data[theirs]
            known = prior(mine, d) if prior else None
            name = f"{SHORT[theirs]} patients, {SHORT[mine]} followed, {method}, {n}"
            out.append(run(name, f, d, ahead, every, skip, known, n, method, **options))
            print(out[-1].line(), flush=True)
            keep(out)


def alone(model_id: str, statement) -> dict[str, float]:
    """Milliseconds of one step of one patient from Python: processor time, median and 99th percentile."""
    f = statement(load(model_id))
    follower, u, spent = Follower(f, None, count=1), np.zeros(len(f.signals)), []
    glucose = "sensitivity" in f.signals
    for k in range(600):
        if glucose:
            u[f.signals.index("sensitivity")], u[-1] = 1.0, 0.015
        else:
            u[0] = 80.0 if k < 20 else 9.0
        y = 120 + 10 * np.sin(k / 20) if glucose else 50 + 40 * np.exp(-k / 20)
        start = time.thread_time()
        follower.step(u, y)
        spent.append(1e3 * (time.thread_time() - start))
    draws = time.thread_time()
    for _ in range(20):
        follower.draws(30)
    return {
        "rows": f.size,
        "median": float(np.median(spent)),
        "p99": float(np.percentile(spent, 99)),
        "draws_30": 50 * (time.thread_time() - draws),
    }


def casadi_window(intervals: int = 24) -> dict[str, float]:
    """Seconds to build and to solve one window of glucose in CasADi."""
    f = follow_glucose(load(HOVORKA))
    f = dataclasses.replace(
        f, states={"q1": Process(absolute=0.1), "d2": Process(absolute=0.5)}, disturbed=f.disturbed[:1]
    )
    E = len(f.model.effects)
    start = time.perf_counter()
    window = CasadiWindow(f, intervals, np.array([75.0, 0.0]), np.zeros(E), f.model.omega)
    built = time.perf_counter() - start
    follower = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
    u = np.zeros((intervals, len(f.signals)))
    u[:, f.signals.index("sensitivity")], u[:, -1] = 1.0, 0.015
    y = 120 + 20 * np.sin(np.arange(intervals + 1) / 5)
    start = time.perf_counter()
    found = window.solve(follower.engine.m[0], follower.engine.P[0], u, y)
    return {
        "build": built,
        "solve": time.perf_counter() - start,
        "iterations": found.iterations,
        "success": found.success,
    }


def main() -> None:
    """Run and save what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--slow", type=int, default=60)
    parser.add_argument("--split", default="test")
    parser.add_argument("--only", nargs="*", default=["glucose", "propofol", "unannounced", "time"])
    a = parser.parse_args()

    def keep(what: str, found: Any) -> None:
        path = RESULTS / "estimators.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        results.pop("machine", None)
        save("estimators", results | {what: found})

    for what in a.only:
        if what == "time":
            rows = {m: alone(m, follow_glucose) for m in (HOVORKA, UVA)}
            rows |= {m: alone(m, follow_propofol) for m in (ELEVELD, SCHNIDER)}
            rows |= {"casadi_window": casadi_window()}
            keep("time", rows)
            print(json.dumps(rows, indent=1))
            continue

        def runs(found: list[Scores], what: str = what) -> None:
            keep(what, {"split": a.split, "runs": [dataclasses.asdict(s) for s in found]})

        if what == "propofol":
            data = {m: record_propofol(propofol_patients(m, a.patients, a.split)) for m in (ELEVELD, SCHNIDER)}
            compare((ELEVELD, SCHNIDER), follow_propofol, data, None, (12, 36), 36, 24, a.patients, a.slow, runs)
        else:
            meals = "counted" if what == "glucose" else "unannounced"
            people = {m: glucose_patients(m, a.patients, a.split) for m in (HOVORKA, UVA)}
            data = {m: record_glucose(p, meals=meals) for m, p in people.items()}
            statement = lambda m: follow_glucose(m, announced=what == "glucose")  # noqa: B023, E731
            slow = a.slow if what == "glucose" else 0
            compare((HOVORKA, UVA), statement, data, known_of, (6, 12), 12, 24, a.patients, slow, runs)


if __name__ == "__main__":
    main()
