"""The glucose cohorts: adults, adolescents and children with type 1 diabetes of each glucose model, in fixed splits.

Who they are is our choice, declared here; how they differ is the model's variability; who is accepted:

| rule | source |
|---|---|
| basal rate 0.1 to 2.2 U/h | McGill's virtual population |
| carbohydrate ratio 2 to 24 g/U, children 2 to 40 | McGill's (2 to 24); children's by their weight, ours |
| daily insulin 0.3 to 1.5 U/kg: basal + the day's carbohydrate over the ratio | ISPAD 2022, ADA (from memory) |
| glucose stays at 70 mg/dL or above for eight hours after a meal with its own bolus | ours, after Dalla Man 2014 (90) |
| that meal raises it by 15 to 160 mg/dL | ours, after Dalla Man 2014 (40 to 80 in most) |
| 0.02 U/kg lowers it by 8 to 80 mg/dL: neither deaf to insulin nor killed by a small error | ours |
| without insulin it rises by 60 mg/dL or more in eight hours | ours: type 1 diabetes |

Basal rate, carbohydrate ratio and correction factor as `virtual.ratios` defines them. Everybody starts at the steady
state on the basal rate.
"""

from __future__ import annotations

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from .cohort import sampled
from .draws import EFFECTS, PERSON, normals, seed_of
from .people import People
from .ratios import GROUPS, Ratios, ratios

__all__ = ["NAME", "VERSION", "accepted", "glucose_cohort", "numbers"]

NAME, VERSION = "glucose", 1

# kg: median, SD of the log, lowest, highest; ours, adults about those of Resalat 2019 (mean 76 kg), the young about
# US growth charts at 8 to 11 and at 13 to 17 years
WEIGHT = {"adult": (75.0, 0.18, 45.0, 120.0), "adolescent": (56.0, 0.16, 35.0, 90.0), "child": (32.0, 0.20, 18.0, 55.0)}
CARBOHYDRATE = {"adult": 3.0, "adolescent": 4.5, "child": 6.0}  # g/kg/day, about half of the energy; ours

BASAL = (0.1, 2.2)  # U/h
CARB_RATIO = {"adult": (2.0, 24.0), "adolescent": (2.0, 24.0), "child": (2.0, 40.0)}  # g/U
DAILY = (0.3, 1.5)  # U/kg
LOWEST = 70.0  # mg/dL
PEAK = (15.0, 160.0)  # mg/dL
FALL = (8.0, 80.0)  # mg/dL for 0.02 U/kg
RISE = 60.0  # mg/dL


def glucose_cohort(
    model: Model | str = "glucose_t1d_uvapadova2008",
    split: str = "test",
    n: int = 300,
    group: str = "all",
    *,
    first: int = 0,
    seed: int | None = None,
    threads: int | None = None,
) -> People:
    """n virtual patients of a split.

    Args:
        model: a glucose model or its id.
        split: "train", "validation" or "test".
        n: how many of a sequence without end.
        group: "adult", "adolescent", "child", or "all": in turn.
        first: of how many before them: patients first … first + n − 1, the same persons as in a bigger cohort.
        seed: draw another cohort than the published one.
        threads: at most (default: as many as there are cores).

    Returns:
        People with ``known`` weight kg, group (0 adult, 1 adolescent, 2 child), basal U/h, carb_ratio g/U and
        correction mg/dL per U, and with their random effects.

    Raises:
        DoseloopError: no such split or group, n below 1, first below 0, or a model without a carbohydrate ratio.
    """
    m = load(model) if isinstance(model, str) else model
    bad = [f"there is no group '{group}'; there are {', '.join(GROUPS)}, all"] if group not in (*GROUPS, "all") else []
    bad += [f"n must be 1 or more, not {n}"] if n < 1 else []
    bad += [f"first must be 0 or more, not {first}"] if first < 0 else []
    bad += [f"model '{m.id}' has no {what}" for what in _lacks(m)]
    published = seed_of(NAME, VERSION, split)
    if bad:
        raise DoseloopError([f"glucose cohort: {b}" for b in bad])
    key = published if seed is None else int(seed)
    who = numbers(n, group, first)
    found = sampled(f"glucose cohort of '{m.id}'", who, lambda w, attempt: _candidates(m, key, w, attempt, threads))
    groups = np.array(GROUPS)[who % len(GROUPS)]
    known = {k: found[k] for k in ("weight", "group", "basal", "carb_ratio", "correction")}
    return People(
        m,
        found["parameters"],
        found["covariates"],
        known,
        np.array([f"{g}-{split}-{k // len(GROUPS):04d}" for g, k in zip(groups, who)]),
        groups,
        found["eta"],
        origin=f"cohort {NAME}, version {VERSION}, split {split}, seed {key}, model {m.id}",
    )


def numbers(n: int, group: str = "all", first: int = 0) -> np.ndarray:
    """(n,) the patients' numbers in their split: patient k of a group has 3k + its code, alone and among all."""
    k = np.arange(first, first + n)
    return k if group == "all" else len(GROUPS) * k + GROUPS.index(group)


def accepted(weight: np.ndarray, group: np.ndarray, basal: np.ndarray, found: Ratios) -> np.ndarray:
    """Which of n patients keep every rule of the table above; ``group`` as codes, ``basal`` U/h."""

    def within(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
        return (values >= low) & (values <= high)

    code = group.astype(int)
    low, high = (np.array([CARB_RATIO[g][i] for g in GROUPS])[code] for i in (0, 1))
    eats = np.array([CARBOHYDRATE[g] for g in GROUPS])[code]
    good = within(basal, *BASAL) & within(found.carb_ratio, low, high)
    good &= within(24 * basal / weight + eats / found.carb_ratio, *DAILY)
    good &= (found.lowest >= LOWEST) & within(found.peak, *PEAK) & (found.rise >= RISE)
    return good & within(0.02 * weight * found.correction, *FALL)


def _lacks(m: Model) -> list[str]:
    wanted = {"inputs": ["carbs"], "routes": ["sc"], "covariates": ["weight", "group"], "outputs": ["glucose"]}
    lacks = [f"{n} among its {kind}" for kind, names in wanted.items() for n in names if n not in m.names(kind)]
    return lacks + [f"{n} among its individual parameters" for n in ("basal", "gb") if n not in m.individual_units]


def _candidates(
    m: Model, seed: int, who: np.ndarray, attempt: int, threads: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One attempt for these patients: weight, effects, parameters, ratios, and who is accepted."""
    group, many = who % len(GROUPS), -(-len(m.effects) // 4)
    median, sd, low, high = np.array([WEIGHT[g] for g in GROUPS])[group].T
    weight = median * np.exp(sd * normals(seed, who, PERSON, 1, first=attempt)[:, 0])
    z = normals(seed, who, EFFECTS, len(m.effects), first=attempt * many)
    eta = np.einsum("nk,ek->ne", z, np.linalg.cholesky(m.omega))  # BLAS may sum otherwise in another company
    columns = {"weight": weight, "group": group.astype(float)}
    covariates = np.stack([columns[c] for c in m.names("covariates")], axis=1)
    parameters = individuals(m, covariates, eta)
    basal = parameters[:, list(m.individual_units).index("basal")]
    # what costs nothing first: a simulation for those alone whom it can still accept
    good = (weight >= low) & (weight <= high) & (basal >= BASAL[0]) & (basal <= BASAL[1])
    sizes = np.full((len(who), 2), np.nan)
    if good.any():
        found = ratios(m, parameters[good], threads)
        sizes[good] = np.stack([found.carb_ratio, found.correction], axis=1)
        good[good] = accepted(weight[good], columns["group"][good], basal[good], found)
    columns |= {"basal": basal, "carb_ratio": sizes[:, 0], "correction": sizes[:, 1]}
    return {**columns, "covariates": covariates, "parameters": parameters, "eta": eta}, good
