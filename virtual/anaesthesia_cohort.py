"""The anaesthesia cohorts: adults for surgery with all random effects of a published model, in three fixed splits.

Who they are is our choice, declared here; how they differ from the typical patient of their age, weight, height and sex
is the paper's. Patient k of a split is the same person whatever the number drawn, and of the same age, weight, height
and sex in every model whose range covers them.

- Sex: half and half. Age: uniform from 18 to 80 years (control studies draw 18 to 70).
- Height: normal, men 175.3 (SD 7.5) cm, women 161.3 (7.0): means of adults in the US survey NHANES 2015-2018 (Fryar
  2021, from memory), SDs of the size that such surveys have; drawn anew outside 145 to 205 cm.
- Body-mass index: log-normal, median 26.5, SD of the log 0.17, drawn anew outside 17 to 40 kg/m²: between European and
  US surveys; the models' formulas of lean mass fail in the very obese.
- Where age, weight or height lies outside the model's own range, the person is drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from .cohort import random_effects
from .draws import PERSON, quantiles, seed_of, uniform_draws
from .people import People

__all__ = ["NAME", "VERSION", "anaesthesia_cohort"]

NAME, VERSION = "anaesthesia", 1

AGE = (18.0, 80.0)  # years
HEIGHT = {0: (175.3, 7.5), 1: (161.3, 7.0)}  # cm: mean, SD of men, women
HEIGHT_RANGE = (145.0, 205.0)
BMI = (26.5, 0.17)  # kg/m²: median, SD of the log
BMI_RANGE = (17.0, 40.0)
ATTEMPTS = 1000  # draws of age, height and so on


def anaesthesia_cohort(
    model: Model | str = "propofol_eleveld2018",
    split: str = "test",
    n: int = 1000,
    *,
    first: int = 0,
    seed: int | None = None,
    given: Mapping[str, float] | None = None,
) -> People:
    """n virtual patients of a split.

    Args:
        model: an anaesthesia model or its id.
        split: "train", "validation" or "test".
        n: how many of a sequence without end.
        first: of how many before them: patients first … first + n − 1, the same persons as in a bigger cohort.
        seed: draw another cohort than the published one.
        given: covariates that are no person's but the setting's (``opioid``, ``venous``, ``modified``); default the
            model's typical ones. Propofol alone (``opioid`` 0) has other kinetics than propofol with remifentanil.

    Returns:
        People with ``known`` age, weight, height and sex.

    Raises:
        DoseloopError: no such split, n below 1, first below 0, or a covariate that is not known.
    """
    m = load(model) if isinstance(model, str) else model
    setting, who = dict(given or {}), np.arange(first, first + n)
    own = [c for c in m.names("covariates") if c not in ("age", "weight", "height", "sex")]
    bad = [
        f"'{c}' is no covariate of the setting; there are: {', '.join(own) or 'none'}" for c in setting if c not in own
    ]
    if n < 1:
        bad.append(f"n must be 1 or more, not {n}")
    if first < 0:
        bad.append(f"first must be 0 or more, not {first}")
    if bad:
        raise DoseloopError([f"anaesthesia cohort of '{m.id}': {b}" for b in bad])
    published = seed_of(NAME, VERSION, split)
    key = published if seed is None else int(seed)
    persons = _persons(m, key, who)
    values = {c: np.full(n, setting.get(c, m.typical_covariates[c])) for c in own} | persons
    covariates = np.stack([values[c] for c in m.names("covariates")], axis=1)
    eta = random_effects(m, key, who)
    return People(
        m,
        individuals(m, covariates, eta),
        covariates,
        persons,
        np.array([f"{split}-{k:04d}" for k in who]),
        np.full(n, "adult"),
        eta,
        origin=f"cohort {NAME}, version {VERSION}, split {split}, seed {key}, model {m.id}",
    )


def _persons(m: Model, seed: int, who: np.ndarray) -> dict[str, np.ndarray]:
    """Age, weight, height and sex, (n,) each, within the model's own ranges."""
    ranges = {c.name: (c.low, c.high) for c in m.covariates}
    got = {c: np.empty(len(who)) for c in ("age", "weight", "height", "sex")}
    wanting = np.arange(len(who))
    for attempt in range(ATTEMPTS):
        u = uniform_draws(seed, who[wanting], PERSON, 4, first=attempt)
        sex = (u[:, 0] < 0.5).astype(float)
        mean, sd = (np.where(sex > 0.5, HEIGHT[1][k], HEIGHT[0][k]) for k in (0, 1))
        z = quantiles(u[:, 2:])
        height, bmi = mean + sd * z[:, 0], BMI[0] * np.exp(BMI[1] * z[:, 1])
        drawn = {
            "age": AGE[0] + (AGE[1] - AGE[0]) * u[:, 1],
            "weight": bmi * (height / 100) ** 2,
            "height": height,
            "sex": sex,
        }
        fits = (bmi >= BMI_RANGE[0]) & (bmi <= BMI_RANGE[1])
        fits &= (height >= HEIGHT_RANGE[0]) & (height <= HEIGHT_RANGE[1])
        for c, (low, high) in ranges.items():
            if c in drawn:
                fits &= (drawn[c] >= low) & (drawn[c] <= high)
        for c, values in drawn.items():
            got[c][wanting[fits]] = values[fits]
        wanting = wanting[~fits]
        if not len(wanting):
            return got
    raise DoseloopError(f"anaesthesia cohort of '{m.id}': no adult lies within the model's ranges {ranges}")
