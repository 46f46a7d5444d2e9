"""What a therapy expects of a data file: its routes, outputs and covariates, each with unit and believable range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import DoseloopError

__all__ = ["RESERVED", "CovariateSpec", "Layout", "OutputSpec", "RouteSpec"]

RESERVED = frozenset(
    [
        *("ID", "TIME", "AMT", "RATE", "DUR", "EVID", "MDV", "CMT", "II", "ADDL", "SS", "DV"),
        *("LLOQ", "BLQ", "CENS", "OCC", "DVID", "ROUTE"),
    ]
)
"""The data items of the reader; covariates may have any other name."""

_KINDS = frozenset(["bolus", "infusion"])


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One route by which the drug is given.

    Attributes:
        name: the model's route, such as ``"iv"``; also what a ROUTE column says.
        cmt: NONMEM's compartment number (CMT) of the route.
        amount_unit: unit of the model's amounts; the file's AMT is converted to it.
        kinds: ``"bolus"`` (also first-order input) and/or ``"infusion"``.
        high: largest believable single dose, in ``amount_unit``.
    """

    name: str
    cmt: int
    amount_unit: str
    kinds: frozenset[str] = _KINDS
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One measured output.

    Attributes:
        name: the model's output, such as ``"concentration"``.
        unit: its unit; the file's DV is converted to it.
        dvid: what a DVID column says for it.
        low: lowest physically possible value.
        high: highest believable value.
        endogenous: the body has it without the drug (glucose, BIS): a level before any dose, or a zero, is a fact.
    """

    name: str
    unit: str
    dvid: int
    low: float
    high: float
    endogenous: bool = False


@dataclass(frozen=True, slots=True)
class CovariateSpec:
    """One covariate of the model.

    Attributes:
        name: the model's name for it.
        unit: its unit; ``""`` for a pure number.
        columns: column names under which files carry it, such as ``("WT", "WEIGHT")``; ``name`` is always one.
        low: lowest believable value.
        high: highest believable value.
        required: whether a file must have it.
        default: value when it is not required and the file does not say it; None leaves it out of the record.
    """

    name: str
    unit: str
    columns: tuple[str, ...]
    low: float
    high: float
    required: bool = True
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What is expected of a file; `doseloop.pkpd.nonmem.read` reads by it.

    Attributes:
        routes: at least one.
        outputs: may be empty when nothing is measured.
        covariates: may be empty.
        time_unit: unit of the model's time; the file's times are converted to it.

    Raises:
        DoseloopError: lists every slip in the layout itself.
    """

    routes: tuple[RouteSpec, ...]
    outputs: tuple[OutputSpec, ...]
    covariates: tuple[CovariateSpec, ...] = ()
    time_unit: str = "h"

    def __post_init__(self) -> None:
        found = list(self._problems())
        if found:
            raise DoseloopError(found)

    def _problems(self) -> Iterator[str]:
        if not self.routes:
            yield "a layout needs at least one route"
        named: dict[str, list[str]] = {
            "route": [r.name.casefold() for r in self.routes],
            "output": [o.name for o in self.outputs],
            "DVID": [str(o.dvid) for o in self.outputs],
            "covariate": [c.name for c in self.covariates],
            "covariate column": [a for c in self.covariates for a in self.aliases(c)],
        }
        for what, names in named.items():
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                yield f"{what} named twice: {', '.join(twice)}"
        for r in self.routes:
            if not r.kinds or r.kinds - _KINDS:
                yield f"route {r.name}: kinds must be bolus and/or infusion, not {sorted(r.kinds)}"
            if any(r is not q and r.cmt == q.cmt and r.kinds & q.kinds for q in self.routes):
                yield f"route {r.name}: another route has the same CMT {r.cmt} and kind"
        for c in self.covariates:
            taken = sorted(RESERVED & self.aliases(c))
            if taken:
                yield f"covariate {c.name}: {', '.join(taken)} has a meaning of its own"
        ranges = [(o.name, o.low, o.high) for o in self.outputs] + [(c.name, c.low, c.high) for c in self.covariates]
        for name, low, high in ranges:
            if not low <= high:
                yield f"{name}: low {low:g} must not be above high {high:g}"

    @staticmethod
    def aliases(covariate: CovariateSpec) -> set[str]:
        """Every column name of a covariate, in capitals."""
        return {a.upper() for a in (covariate.name, *covariate.columns)}
