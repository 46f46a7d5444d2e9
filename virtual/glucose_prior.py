"""What a controller may believe of a patient whose basal rate, carbohydrate ratio and correction factor are known.

The usual protocol knows them, with weight and age group. Over a large sampled cohort (train split) the model's random
effects and

    log(basal / weight)    log(carb_ratio)    log(correction · weight)    log(weight)

are taken as jointly normal in each group, with one covariance for all groups, and the effects are conditioned on what
is known: a linear regression with its residual covariance. A clinic's ratios are rough, so each known value has an
error of its own. The basal rate is then made to come back exactly: the mean is moved, by the least change that the
population's covariance allows (Newton), to where the model's own basal rate equals the known one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals, individuals_with_derivatives
from ..pkpd.jit import content_stamp
from ..pkpd.model import Model
from .cohort import kept
from .glucose_cohort import NAME, VERSION, glucose_cohort
from .ratios import GROUPS

__all__ = ["ERRORS", "KNOWN", "GlucosePrior", "glucose_prior"]

KNOWN = ("basal", "carb_ratio", "correction", "weight")
# SD of the log; ours. Ratios in use are rough: those of the usual benchmark's children are 0.6 of our definition's.
ERRORS = {"basal": 0.05, "carb_ratio": 0.3, "correction": 0.35, "weight": 0.0}
COHORT = 3000  # patients of the train split
FAR = 3.0  # SDs: a known value further out than this counts as this far (a slip, or another kind of patient)
ROUNDS = 50


@dataclass(frozen=True, eq=False)
class GlucosePrior:
    """The regression of one model, as a function of what is known; see the module.

    Attributes:
        model: whose random effects.
        features: (groups, f) means of what is known, on its log scale; ``effects`` (groups, effects) of the effects.
        joint: (effects + f, effects + f) their covariance within a group.
        errors: SD of the log of each known value around the truth.
    """

    model: Model
    features: np.ndarray
    effects: np.ndarray
    joint: np.ndarray
    errors: Mapping[str, float]

    def __call__(self, known: Mapping[str, Any], at: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, effects) and covariance (effects, effects) of the random effects.

        Args:
            known: ``basal`` U/h, ``carb_ratio`` g/U, ``correction`` mg/dL per U, ``weight`` kg and ``group`` (codes 0
                adult, 1 adolescent, 2 child, or their names), (n,) each or one number; as `People.known`.
            at: glucose that the basal rate is meant to hold, mg/dL; default: what the population says.

        Raises:
            DoseloopError: listing what is missing, not a positive number, or no group.
        """
        features, group = _features(known)
        q = len(self.model.effects)
        S = self.joint[q:, q:] + np.diag([self.errors[k] ** 2 for k in KNOWN])
        off = features - self.features[group]
        far = np.sqrt(np.diag(S))
        off = np.clip(off, -FAR * far, FAR * far)
        gain = np.linalg.solve(S, self.joint[q:, :q]).T
        mean = self.effects[group] + np.einsum("nf,ef->ne", off, gain)
        covariance = self.joint[:q, :q] - gain @ self.joint[q:, :q]
        mean = self._held(mean, np.exp(features[:, 0]), np.exp(features[:, 3]), group, at)
        return mean, 0.5 * (covariance + covariance.T)

    def parameters(self, known: Mapping[str, Any], at: float | None = None) -> np.ndarray:
        """(n, individual parameters) of the patient at the mean: its basal rate is the known one."""
        features, group = _features(known)
        return individuals(self.model, self._covariates(np.exp(features[:, 3]), group), self(known, at)[0])

    def _covariates(self, weight: np.ndarray, group: np.ndarray) -> np.ndarray:
        values = {"weight": weight, "group": group.astype(float)}
        return np.stack([values[c] for c in self.model.names("covariates")], axis=1)

    def _held(
        self, eta: np.ndarray, per_kg: np.ndarray, weight: np.ndarray, group: np.ndarray, at: float | None
    ) -> np.ndarray:
        """The mean moved until the model's basal rate is the known one (U/h), and its fasting glucose ``at``."""
        covariates, names = self._covariates(weight, group), list(self.model.individual_units)
        wanted = {"basal": np.log(per_kg * weight)}
        if at is not None:
            wanted["gb"] = np.full(len(eta), np.log(at))
        rows, target = [names.index(n) for n in wanted], np.stack(list(wanted.values()), axis=1)
        omega = self.model.omega
        for _ in range(ROUNDS):
            p, slopes = individuals_with_derivatives(self.model, covariates, eta)
            missing = target - np.log(p[:, rows])
            if np.abs(missing).max(initial=0.0) < 1e-13:
                break
            G = slopes[:, :, rows] / p[:, None, rows]  # d log(basal, gb) / d eta: (n, effects, rows)
            moved = np.einsum("ab,nbr->nar", omega, G)
            step = np.linalg.solve(np.einsum("nar,nas->nrs", G, moved), missing[:, :, None])
            step = np.einsum("nar,nrk->nak", moved, step)[:, :, 0]
            eta = eta + np.clip(step, -0.5, 0.5)
        return eta


@lru_cache(maxsize=16)
def glucose_prior(
    model: Model | str = "glucose_t1d_uvapadova2008", cohort: int = COHORT, errors: tuple[float, ...] | None = None
) -> GlucosePrior:
    """The prior of a glucose model; the regression is made once and kept in the user's cache folder.

    Args:
        model: a glucose model or its id.
        cohort: patients of the train split that it rests on.
        errors: SDs of the log of basal, carb_ratio, correction and weight; default `ERRORS`.
    """
    m = load(model) if isinstance(model, str) else model
    stamp = f"{m.id} {NAME} {VERSION} {cohort} {content_stamp(__file__)} {content_stamp(m.place[0])}"
    found = kept(f"prior-{m.id}", stamp, lambda: _regression(m, cohort))
    named = dict(zip(KNOWN, errors)) if errors else ERRORS
    return GlucosePrior(m, found["features"], found["effects"], found["joint"], named)


def _regression(m: Model, cohort: int) -> dict[str, np.ndarray]:
    people = glucose_cohort(m, "train", cohort)
    features, group = _features(people.known)
    assert people.eta is not None
    both = np.concatenate([people.eta, features], axis=1)
    means = np.stack([both[group == g].mean(axis=0) for g in range(len(GROUPS))])
    rest = both - means[group]
    q = people.eta.shape[1]
    return {"effects": means[:, :q], "features": means[:, q:], "joint": rest.T @ rest / (len(both) - len(GROUPS))}


def _features(known: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(n, f) on the log scale in the order of `KNOWN`, and the group's codes (n,)."""
    bad = [f"'{k}' is missing" for k in (*KNOWN, "group") if k not in known]
    columns = {k: np.atleast_1d(np.asarray(known[k], dtype=float)) for k in KNOWN if k in known}
    for k, v in columns.items():
        if not (np.isfinite(v) & (v > 0)).all():
            bad.append(f"'{k}' must be above 0")
    group = np.atleast_1d(np.asarray(known.get("group", 0)))
    if group.dtype.kind in "US":
        strange = sorted({str(g) for g in group} - {*GROUPS})
        bad += [f"there is no group '{g}'; there are {', '.join(GROUPS)}" for g in strange]
        group = np.array([GROUPS.index(str(g)) if str(g) in GROUPS else 0 for g in group])
    elif not np.isin(group, range(len(GROUPS))).all():
        bad.append("'group' must be 0 (adult), 1 (adolescent) or 2 (child)")
    if bad:
        raise DoseloopError([f"prior of a glucose patient: {b}" for b in bad])
    n = max(len(v) for v in (*columns.values(), group))
    columns = {k: np.broadcast_to(v, (n,)) for k, v in columns.items()}
    rows = [
        np.log(columns["basal"] / columns["weight"]),
        np.log(columns["carb_ratio"]),
        np.log(columns["correction"] * columns["weight"]),
        np.log(columns["weight"]),
    ]
    return np.stack(rows, axis=1), np.broadcast_to(group, (n,)).astype(int)
