"""The cohorts of drugs dosed by the hour: adults on vancomycin, neonates on phenobarbital; three fixed splits.

Who they are is our choice, declared here; how they differ from the typical patient of their weight, age, sex and renal
function is the model's paper's. Patient k of a split is the same person whatever the number drawn, and in every model
whose range covers them.

**Adults** (without dialysis):

- Sex: half and half. Age: normal, 60 (SD 17) years, within 18 to 95 (Goti 2018: median 57, 17 to 101).
- Height and its range: as in `virtual.anaesthesia_cohort`. Body-mass index: log-normal, median 26.5, SD of the log
  0.2, within 17 to 48 kg/m² (Goti 2018: weight 33 to 255 kg, median 79).
- Serum creatinine: log-normal around 0.88 mg/dL in men and 0.70 in women, SD of the log 0.2 (healthy adults; ours);
  in 45 % it is a factor higher, log-uniform from 1.3 to 5: renal impairment. Creatinine clearance by Cockcroft and
  Gault with actual weight lies within 15 to 170 mL/min. All of this is ours; docs/virtual.md says what comes out.

**Neonates**: birth weight log-normal, median 1.43 kg, SD of the log 0.40, within 0.6 to 3.62 kg, and the 5-minute Apgar
with its frequencies among the 59 infants of Grasela and Donn 1985 (in their published data: mean 1.53 kg, SD of the log
0.40), drawn independently of one another (there they correlate by 0.24).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from .anaesthesia_cohort import HEIGHT, HEIGHT_RANGE
from .cohort import random_effects, sampled
from .draws import PERSON, quantiles, seed_of, uniform_draws
from .people import People

__all__ = ["ADULTS", "NEONATES", "VERSION", "clearance", "phenobarbital_cohort", "vancomycin_cohort"]

ADULTS, NEONATES, VERSION = "vancomycin", "phenobarbital", 1

AGE, AGE_RANGE = (60.0, 17.0), (18.0, 95.0)  # years
BMI, BMI_RANGE = (26.5, 0.2), (17.0, 48.0)  # kg/m²: median, SD of the log
CREATININE, CREATININE_SD = (0.88, 0.70), 0.2  # mg/dL of men, of women; SD of the log
IMPAIRED, IMPAIRMENT = 0.45, (1.3, 5.0)  # share of people; factor on creatinine
CLEARANCE = (15.0, 170.0)  # mL/min

BIRTH_WEIGHT, BIRTH_RANGE = (1.43, 0.40), (0.6, 3.62)  # kg: median, SD of the log
APGARS = (3, 2, 2, 3, 7, 8, 12, 12, 9, 1)  # infants with an Apgar of 1, 2 … 10

ATTEMPTS = 1000

Drawn = tuple[dict[str, np.ndarray], np.ndarray]


def clearance(age: np.ndarray, weight: np.ndarray, sex: np.ndarray, scr: np.ndarray) -> np.ndarray:
    """Creatinine clearance, mL/min, of many: `pkpd.physiology.cockcroft_gault` on arrays."""
    return (140.0 - age) * weight / (72.0 * scr) * np.where(sex > 0.5, 0.85, 1.0)


def vancomycin_cohort(
    model: Model | str = "vancomycin_adult_goti2018", split: str = "test", n: int = 1000, *, seed: int | None = None
) -> People:
    """n adults of a split, with all random effects of a vancomycin model.

    Args:
        model: a model with covariates weight, age, sex and scr (serum creatinine), or its id.
        split: "train", "validation" or "test".
        n: how many; the first n of a sequence without end.
        seed: draw another cohort than the published one.

    Returns:
        People with ``known`` weight (kg), age (years), height (cm) and sex (0 male, 1 female). Their covariate
        creatinine is the true one on admission; a bedside has the laboratory's (`virtual.bedside_world`).

    Raises:
        DoseloopError: no such split, n below 1, or a model with other covariates.
    """
    return _cohort(ADULTS, model, split, n, seed, _adults, ("weight", "age", "sex", "scr"), ("dialysis",))


def phenobarbital_cohort(
    model: Model | str = "phenobarbital_neonate_grasela1985", split: str = "test", n: int = 1000,
    *, seed: int | None = None,
) -> People:  # fmt: skip
    """n newborns of a split, with all random effects of a model whose covariates are birth weight and apgar.

    Arguments and errors as of `vancomycin_cohort`; ``known`` are weight (kg) and apgar.
    """
    return _cohort(NEONATES, model, split, n, seed, _neonates, ("weight", "apgar"), ())


def _adults(key: int, who: np.ndarray, attempt: int) -> Drawn:
    u = uniform_draws(key, who, PERSON, 8, first=2 * attempt)
    z, sex = quantiles(u), (u[:, 0] < 0.5).astype(float)
    woman = sex > 0.5
    mean, sd = (np.where(woman, HEIGHT[1][k], HEIGHT[0][k]) for k in (0, 1))
    age, height, bmi = AGE[0] + AGE[1] * z[:, 1], mean + sd * z[:, 2], BMI[0] * np.exp(BMI[1] * z[:, 3])
    weight = bmi * (height / 100) ** 2
    low, high = np.log(IMPAIRMENT)
    factor = np.where(u[:, 5] < IMPAIRED, np.exp(low + (high - low) * u[:, 6]), 1.0)
    scr = np.where(woman, CREATININE[1], CREATININE[0]) * np.exp(CREATININE_SD * z[:, 4]) * factor
    fits = _within(age, AGE_RANGE) & _within(height, HEIGHT_RANGE) & _within(bmi, BMI_RANGE)
    fits &= _within(clearance(age, weight, sex, scr), CLEARANCE)
    return {"weight": weight, "age": age, "height": height, "sex": sex, "scr": scr}, fits


def _neonates(key: int, who: np.ndarray, attempt: int) -> Drawn:
    u = uniform_draws(key, who, PERSON, 2, first=attempt)
    weight = BIRTH_WEIGHT[0] * np.exp(BIRTH_WEIGHT[1] * quantiles(u[:, 0]))
    apgar = 1.0 + np.searchsorted(np.cumsum(APGARS) / sum(APGARS), u[:, 1], side="right")
    return {"weight": weight, "apgar": apgar}, _within(weight, BIRTH_RANGE)


def _within(values: np.ndarray, between: tuple[float, float]) -> np.ndarray:
    return (values >= between[0]) & (values <= between[1])


def _cohort(
    name: str,
    model: Model | str,
    split: str,
    n: int,
    seed: int | None,
    draw: Callable[[int, np.ndarray, int], Drawn],
    needed: tuple[str, ...],
    absent: tuple[str, ...],
) -> People:
    """A cohort of persons drawn by ``draw``; the covariates ``absent`` are 0."""
    m = load(model) if isinstance(model, str) else model
    names = m.names("covariates")
    bad = [f"model '{m.id}' has no covariate '{c}'" for c in needed if c not in names]
    bad += [
        f"model '{m.id}' has the covariate '{c}', which the cohort has not" for c in names if c not in needed + absent
    ]
    bad += [] if n >= 1 else [f"n must be 1 or more, not {n}"]
    if bad:
        raise DoseloopError([f"cohort {name}: {b}" for b in bad])
    published = seed_of(name, VERSION, split)
    key, who = published if seed is None else int(seed), np.arange(n)

    def candidates(wanting: np.ndarray, attempt: int) -> Drawn:
        columns, fits = draw(key, wanting, attempt)
        for c in m.covariates:
            if c.name in columns:
                fits = fits & _within(columns[c.name], (c.low, c.high))
        return columns, fits

    found = sampled(f"cohort {name} of '{m.id}'", who, candidates, ATTEMPTS)
    covariates = np.stack([found.get(c, np.zeros(n)) for c in names], axis=1)
    eta = random_effects(m, key, who)
    known = {c: v for c, v in found.items() if c not in ("scr", "attempts")}
    return People(
        m,
        individuals(m, covariates, eta),
        covariates,
        known,
        np.array([f"{split}-{k:04d}" for k in who]),
        np.full(n, "adult" if name == ADULTS else "neonate"),
        eta,
        origin=f"cohort {name}, version {VERSION}, split {split}, seed {key}, model {m.id}",
    )
