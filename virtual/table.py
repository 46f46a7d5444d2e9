"""A user's own table of UVA/Padova patients, and the one in an installed `simglucose`: CSV to `People`.

doseloop ships no licensed table of patients. This reads the columns that the open simulator's table has::

    Name  BW Gb Ib  kabs kmax kmin b d f  kp1 kp2 kp3 ki  Fsnc Vm0 Vmx Km0 p2u ke1 ke2  ka1 ka2 kd ksc
    k1 k2  m1 m2 m4 m30  Vg Vi  u2ss        [x0_ 1 … x0_13]  [group]  [CR CF]

u2ss (pmol/kg/min) is the basal insulin; x0_ 1 … x0_13, where given, the starting state, else the model's own basal
steady state. The group stands in a column, or before the "#" of the name. CR (g/U) and CF (mg/dL per U) may stand in a
second table with the same names (`simglucose`'s Quest.csv); where neither has them they are computed by simulation
(`virtual.ratios`).
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..models import load
from ..pkpd.errors import RecordError
from ..pkpd.population import starting_states
from ..pkpd.system import system
from .people import People
from .ratios import GROUPS, ratios

__all__ = ["read_table", "simglucose_folder", "simglucose_people"]

MODEL = "glucose_t1d_uvapadova2008"
PMOL = 6000.0  # pmol of insulin in a unit
COLUMN = {"fcns": "Fsnc", "weight": "BW", "gb": "Gb", "ib": "Ib", "vg": "Vg", "vi": "Vi", "vm0": "Vm0", "vmx": "Vmx"}
COLUMN |= {"km0": "Km0"}
START = tuple(f"x0_{k:2d}" for k in range(1, 14))  # "x0_ 1" … "x0_13", as the file writes them
SHARES = ("b", "d")
SUBCUTANEOUS = (10, 11)  # pmol/kg in the table, U in the model
DRIFT = 0.05  # mg/dL/min: a basal state that moves faster than this is none
ENVIRONMENT = "DOSELOOP_SIMGLUCOSE"


def read_table(path: str | os.PathLike[str], ratios_from: str | os.PathLike[str] | None = None) -> People:
    """The patients of a table as `People` of ``glucose_t1d_uvapadova2008``.

    Args:
        path: CSV of the columns above.
        ratios_from: a second CSV with Name, CR, CF; default: the same file.

    Raises:
        RecordError: listing, with their rows, every column that is missing, every value that is no positive number,
            names that come twice, groups that are not known, and patients whose basal state is no steady state.
    """
    rows, header = _rows(path)
    quest = {r.get("Name", "").strip(): r for r in (_rows(ratios_from)[0] if ratios_from else rows)}
    model, file = load(MODEL), Path(path).name
    wanted = {n: COLUMN.get(n, n) for n in model.individual_units if n != "basal"}
    problems = [f"{file}: no column '{c}'" for c in ("Name", *wanted.values(), "u2ss") if c not in header]
    if not rows:
        problems.append(f"{file} has no rows")
    if problems:
        raise RecordError(problems)

    values = np.full((len(rows), len(model.individual_units)), math.nan)
    start, names, groups = np.full((len(rows), len(START)), math.nan), [], []
    given = {c for c in START if c in header}
    for i, row in enumerate(rows):
        where, name = f"{file} row {i + 2}", row["Name"].strip()
        number = functools.partial(_number, row, where=where, problems=problems)
        rate = number("u2ss")
        found = {n: number(c) for n, c in wanted.items()}
        found["basal"] = rate * found["weight"] / PMOL * 60
        problems += [f"{where}: {wanted[n]} is {found[n]:g}; it is a share below 1" for n in SHARES if found[n] >= 1]
        values[i] = [found[n] for n in model.individual_units]
        if len(given) == len(START):
            start[i] = [number(c, low=-math.inf) for c in START]
            start[i, SUBCUTANEOUS] *= found["weight"] / PMOL
        groups.append(_group(row, name, where, problems))
        if not name:
            problems.append(f"{where}: no name")
        if name in names:
            problems.append(f"{where}: the name '{name}' comes twice")
        names.append(name)
    if given and len(given) < len(START):
        problems += [f"{file}: the starting state has no column '{c}'" for c in START if c not in given]
    problems += _unsteady(values, names, file)
    if ratios_from:
        problems += [
            f"{Path(ratios_from).name} has no CR and CF of {n}"
            for n in names
            if not {"CR", "CF"} <= {*quest.get(n, ())}
        ]
    given_ratios = all({"CR", "CF"} <= {*quest.get(n, ())} for n in names)
    source = Path(ratios_from or path).name
    known = {
        k: [_number(quest[n], k, f"{n} in {source}", problems) for n in names] for k in ("CR", "CF") if given_ratios
    }
    if problems:
        raise RecordError(problems)

    weight, basal = (values[:, list(model.individual_units).index(n)] for n in ("weight", "basal"))
    code = np.array([GROUPS.index(g) for g in groups], dtype=float)
    columns = {"weight": weight, "group": code, "basal": basal}
    if known:
        columns |= {"carb_ratio": np.array(known["CR"]), "correction": np.array(known["CF"])}
    else:
        simulated = ratios(model, values)
        columns |= {"carb_ratio": simulated.carb_ratio, "correction": simulated.correction}
    return People(
        model,
        values,
        np.column_stack([columns[n] for n in model.names("covariates")]),
        columns,
        np.array(names),
        np.array(groups),
        start=start if given else None,
        origin=str(path),
    )


def simglucose_folder(path: str | os.PathLike[str] | None = None) -> Path:
    """The folder ``params`` of an installed `simglucose`; the package itself is not imported.

    Args:
        path: that folder, its ``vpatient_params.csv``, or the package's folder, in any environment; default the
            environment variable DOSELOOP_SIMGLUCOSE, else the package installed beside doseloop.

    Raises:
        RecordError: there is none.
    """
    named = path or os.environ.get(ENVIRONMENT)
    spec = None if named else importlib.util.find_spec("simglucose")
    base = Path(named) if named else Path(spec.origin).parent if spec and spec.origin else None
    for folder in (base, base.parent, base / "params") if base else ():
        if (folder / "vpatient_params.csv").is_file():
            return folder
    where = f"'{named}' holds no vpatient_params.csv" if named else "simglucose is not installed"
    raise RecordError(
        f"{where}: `pip install simglucose`, or name its folder (the argument, or ${ENVIRONMENT}), also in another "
        "environment: …/site-packages/simglucose"
    )


def simglucose_people(path: str | os.PathLike[str] | None = None) -> People:
    """The thirty patients of an installed `simglucose`, read at run time (doseloop does not carry them).

    Basal insulin from u2ss, carbohydrate ratio and correction factor from its Quest.csv. ``path`` as in
    `simglucose_folder`.

    Raises:
        RecordError: there is no such package, or its table is not as expected.
    """
    folder = simglucose_folder(path)
    return read_table(folder / "vpatient_params.csv", folder / "Quest.csv")


def _rows(path: str | os.PathLike[str]) -> tuple[list[dict[str, str]], Sequence[str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            reader = csv.DictReader(f)
            rows = [{(k or "").strip(): v or "" for k, v in r.items() if k is not None} for r in reader]
            return rows, [c.strip() for c in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None


def _number(row: Mapping[str, str], column: str, where: str, problems: list[str], low: float = 0.0) -> float:
    try:
        value = float(row[column])
    except (KeyError, ValueError):
        problems.append(f"{where}: {column} is {row.get(column, '')!r}, not a number")
        return math.nan
    if not (math.isfinite(value) and (value > low or low == -math.inf)):
        problems.append(f"{where}: {column} is {row[column]}; a number above 0 is meant")
        return math.nan
    return value


def _group(row: Mapping[str, str], name: str, where: str, problems: list[str]) -> str:
    group = (row.get("group") or name.split("#")[0]).strip().lower()
    if group not in GROUPS:
        problems.append(f"{where}: the group '{group}' is not known; known: {', '.join(GROUPS)}")
    return group


def _unsteady(values: np.ndarray, names: Sequence[str], file: str) -> list[str]:
    """Patients whose glucose moves by itself on the basal rate: their parameters contradict one another."""
    model, problems = load(MODEL), []
    good = np.isfinite(values).all(axis=1)
    if not good.any():
        return []
    from ..pkpd.reference import rhs

    x0 = starting_states(system(model), values[good])
    at = {n: list(model.individual_units).index(n) for n in ("vg", "basal")}
    for x, p, i in zip(x0, values[good], np.flatnonzero(good).tolist()):
        drift = rhs(model, 0.0, x, p, None, {"sc": p[at["basal"]] / 60})[3] / p[at["vg"]]
        if not abs(drift) <= DRIFT:
            problems.append(
                f"{file} row {i + 2}: {names[i]} has no steady state on u2ss at Gb: glucose would move by {drift:.3g} "
                "mg/dL a minute (kp1, kp2, kp3, Vm0, Gb, Ib or u2ss do not go together)"
            )
    return problems
