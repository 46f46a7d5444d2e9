"""A user's own table of patients for anaesthesia, vancomycin or phenobarbital: CSV to `People` of a model.

One patient a line::

    id,age,weight,height,sex[,opioid,…][,eta_cl,…][,cl,…]        anaesthesia
    id,age,weight,sex,scr[,height][,eta_cl,…][,cl,…]             vancomycin
    id,weight,apgar[,eta_cl,…][,cl,…]                            phenobarbital

- ``id``: unique. Then the model's covariates (years, kg, cm, mg/dL; sex 0 or m, 1 or f), under their names or aliases
  (AGE, WT). Covariates of the setting, such as ``opioid``, may be left out: the model's typical value.
- ``eta_…``: random effects, where they are known (from a fit); others are 0: the typical patient of that age and size.
- A column named as an individual parameter (``cl``, in the model's unit) replaces what the model computes.
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np

from ..models import load
from ..pkpd.errors import RecordError
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from .people import People

__all__ = ["read_people"]

# what a column may hold, beyond slips of the unit
PHYSICAL = {"age": (0.0, 120.0), "weight": (0.3, 400.0), "height": (20.0, 260.0), "sex": (0.0, 1.0)}
PHYSICAL |= {"scr": (0.1, 20.0), "apgar": (0.0, 10.0), "dialysis": (0.0, 1.0)}
SEXES = {"m": 0.0, "male": 0.0, "f": 1.0, "female": 1.0}
PERSONAL = ("age", "weight", "height", "sex")  # of a person, where the model has them or not
NEEDED = (*PERSONAL, "scr", "apgar")  # must be there where the model has them
SECRET = ("scr",)  # a bedside has the laboratory's


def read_people(path: str | os.PathLike[str], model: Model | str = "propofol_eleveld2018") -> People:
    """The patients of a table. Creatinine in it is the true one on admission.

    Args:
        path: CSV with a header, UTF-8.
        model: a model of anaesthesia, vancomycin or phenobarbital, or its id.

    Raises:
        RecordError: listing, with their lines, columns that are missing, unknown or twice there, values that are no
            number or cannot be (a height of 1.75 is metres), and ids that come twice.
    """
    m, file = load(model) if isinstance(model, str) else model, Path(path).name
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            header, *lines = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None
    names, bad = _columns(m, [h.strip() for h in header], file)
    if not lines:
        bad.append(f"{file}: it holds no patient")
    table: dict[str, list[float]] = {n: [] for n in names if n and n != "id"}
    ids: list[str] = []
    for number, row in enumerate(lines, start=2):
        where = f"{file}, line {number}"
        if len(row) != len(names):
            bad.append(f"{where}: {len(row)} cells; the header has {len(names)}")
            continue
        for name, cell in zip(names, row):
            if name == "id":
                ids.append(cell.strip())
            elif name:
                value, problem = _number(name, cell)
                table[name].append(value)
                bad += [f"{where}: {problem}"] if problem else []
    bad += [f"{file}: the id '{i}' comes twice" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if bad:
        raise RecordError(bad)
    return _people(m, ids, {n: np.array(v) for n, v in table.items()}, file)


def _columns(m: Model, header: list[str], file: str) -> tuple[list[str], list[str]]:
    """What each column is: "id", a covariate, "eta_…", a parameter; and what is wrong with the header."""
    alias = {a: c.name for c in m.covariates for a in (c.name, *c.aliases)}
    known = {"id": "id"} | {a: a for a in PERSONAL} | alias | {f"eta_{e}": f"eta_{e}" for e in m.names("effects")}
    known |= {p: p for p in m.individual_units if p not in known}
    names = [known.get(h, "") for h in header]
    bad = [f"{file}: column '{h}' is not known; '{m.id}' reads {', '.join(known)}" for h in header if h not in known]
    bad += [f"{file}: column '{n}' comes twice" for n in sorted({n for n in names if n and names.count(n) > 1})]
    needed = ["id", *(c for c in NEEDED if c in m.names("covariates"))]
    return names, [*bad, *(f"{file}: no column '{n}'" for n in needed if n not in names)]


def _number(name: str, cell: str) -> tuple[float, str]:
    text = cell.strip()
    if name == "sex" and text.lower() in SEXES:
        return SEXES[text.lower()], ""
    try:
        value = float(text)
    except ValueError:
        return math.nan, f"{name} is '{text}', not a number"
    if not math.isfinite(value):
        return value, f"{name} is {text}"
    low, high = PHYSICAL.get(name, (-math.inf, math.inf))
    if not low <= value <= high or (name == "sex" and value not in (0.0, 1.0)):
        return value, f"{name} is {text}; it lies between {low:g} and {high:g}"
    return value, ""


def _people(m: Model, ids: list[str], table: dict[str, np.ndarray], file: str) -> People:
    n = len(ids)
    covariates = np.stack([table.get(c.name, np.full(n, c.typical)) for c in m.covariates], axis=1)
    zero = np.zeros(n)
    eta = np.stack([table.get(f"eta_{e}", zero) for e in m.names("effects")], axis=1) if m.effects else np.zeros((n, 0))
    parameters, bad = individuals(m, covariates, eta), []
    for j, name in enumerate(m.individual_units):
        if name in table and name not in m.names("covariates"):
            parameters[:, j] = table[name]
            bad += [f"{file}: {name} of '{i}' is {v:g}; it must be above 0" for i, v in zip(ids, table[name]) if v <= 0]
    if bad:
        raise RecordError(bad)
    outside = np.zeros(n, dtype=bool)
    for c, values in zip(m.covariates, covariates.T):
        outside |= (values < c.low) | (values > c.high)
    said = f"; {outside.sum()} outside the model's range" if outside.any() else ""
    return People(
        m,
        parameters,
        covariates,
        {c: table[c] for c in NEEDED if c in table and c not in SECRET},
        np.array(ids),
        np.where(table.get("age", np.full(n, 18.0)) < 18, "child", "adult"),
        eta,
        origin=f"{file}, model {m.id}{said}",
    )
