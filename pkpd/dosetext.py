"""Doses and covariates as a person types them: ``100 mg oral every 12 h x 10``, ``weight=70,scr=1.1``.

Units are never assumed and are converted to the model's; what is not understood is listed, all of it at once, with what
would be.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import DoseloopError, RegimenError, UnitError
from .model import Model
from .regimen import Dose, Regimen
from .units import convert

__all__ = ["ACCEPTED", "read_covariates", "read_doses"]

ACCEPTED = """A dose is AMOUNT [ROUTE] [over TIME | rate RATE] [at TIME] [every TIME [x COUNT]] [steady state]:
  100 mg oral every 12 h x 10
  1 g iv over 1 h at 24 h every 12 h x 5
  20 mg/kg iv
  500 mg iv over 30 min every 8 h steady state
  1200 mg iv rate 50 mg/h"""

_NUMBER = r"(?P<n>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)"
_WORDS = "oral|iv|sc|im|po|every|over|rate|at|from|for|daily|once|steady|bolus|infusion|doses?|times"
_UNIT = rf"\s*(?P<u>(?!x\s*\d|(?:{_WORDS})\b)[a-zµμ%][a-zµμ%/^0-9]*)?"
# in this order: the first that matches takes its piece of the text
_RULES = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("steady", r"(?:(?:at|in)\s+)?steady[\s-]*state\b|ss\b"),
        ("over", rf"over\s+{_NUMBER}{_UNIT}"),
        ("rate", rf"(?:at\s+)?(?:a\s+)?rate\s+(?:of\s+)?{_NUMBER}{_UNIT}"),
        ("every", rf"every\s+{_NUMBER}{_UNIT}|q\s*(?P<n2>\d+(?:\.\d+)?)\s*(?P<u2>h|d|min|day)\b"),
        ("every day", r"every\s+day\b|(?:once\s+)?daily\b"),
        ("count", r"(?:x|\*)\s*(?P<n>\d+)(?:\s*times|\s*doses)?\b|for\s+(?P<n2>\d+)\s+doses\b|(?P<n3>\d+)\s*times\b"),
        ("at", rf"(?:starting\s+)?(?:at|from)\s+{_NUMBER}{_UNIT}"),
        ("amount", rf"{_NUMBER}{_UNIT}"),
        ("kind", r"(?P<k>bolus|infusion)\b"),
        ("filler", r"(?:,|;|dose|tablets?|of|and)(?=\s|$)"),
    )
)
_ROUTES = {
    **{name: name for name in ("oral", "iv", "sc", "im")},
    "po": "oral",
    "p.o.": "oral",
    "orally": "oral",
    "mouth": "oral",
    "i.v.": "iv",
    "intravenous": "iv",
    "intravenously": "iv",
    "s.c.": "sc",
    "subcutaneous": "sc",
}


@dataclass
class _Reader:
    """Reads one dose; problems are collected."""

    text: str
    model: Model
    covariates: Mapping[str, float]
    until: float | None
    problems: list[str] = field(default_factory=list)
    found: dict[str, tuple[str, str]] = field(default_factory=dict)

    def say(self, problem: str) -> None:
        """Note a problem."""
        self.problems.append(f"'{self.text}': {problem}")

    def scan(self) -> None:
        """Take the text apart."""
        rest = self.text.replace("×", "x").strip()
        routes = {r.casefold(): r for r in self.model.names("routes")}
        while rest:
            word = re.match(r"\S+", rest)
            assert word is not None
            plain = word.group().casefold().rstrip(",;")
            route = routes.get(_ROUTES.get(plain, plain)) or routes.get(plain)
            if route or plain in _ROUTES:
                self.keep("route", route or _ROUTES[plain], "")
                rest = rest[word.end() :].strip()
                continue
            for name, pattern in _RULES:
                match = pattern.match(rest)
                if match and (match.end() == len(rest) or not _inside(rest, match.end())):
                    got = {**match.groupdict()}
                    value = next((got[k] for k in ("n", "n2", "n3", "k") if got.get(k)), "")
                    self.keep(name, value, next((got[k] for k in ("u", "u2") if got.get(k)), ""))
                    rest = rest[match.end() :].strip()
                    break
            else:
                self.say(self._strange(word.group(), routes))
                rest = rest[word.end() :].strip()

    def _strange(self, word: str, routes: Mapping[str, str]) -> str:
        if re.fullmatch(r"\d+,\d+\D*", word):
            return f"'{word}': a comma is not read in numbers; write 2.5 or 2500"
        near = difflib.get_close_matches(
            word.casefold(), [*routes, "every", "over", "rate", "steady", "times"], n=1, cutoff=0.7
        )
        hint = f"; did you mean '{near[0]}'?" if near else f"; routes of this model: {', '.join(routes.values())}"
        return f"'{word}' is not understood{hint}"

    def keep(self, name: str, value: str, unit: str) -> None:
        """Remember a piece; twice the same is a problem."""
        if name == "every day":
            name, value, unit = "every", "1", "day"
        if name == "filler":
            return
        if name in self.found:
            self.say(f"it says {name} twice")
        self.found[name] = (value, unit)

    def quantity(self, name: str, wanted: str) -> float | None:
        """The number of a piece in the wanted unit; None where it is not there or has a problem."""
        if name not in self.found:
            return None
        value, unit = self.found[name]
        if not unit:
            self.say(f"{name} {value}: the unit is missing, as in {value} {wanted}")
            return None
        try:
            return float(convert(float(value), unit, wanted))
        except UnitError as error:
            self.say(f"{name} {value} {unit}: {error}")
            return None

    def amount(self, unit: str) -> float | None:
        """The amount; per kg of the covariate weight where it says so."""
        value, stated = self.found.get("amount", ("", ""))
        if not value:
            self.say("there is no amount, as in 100 mg")
            return None
        if not stated.endswith("/kg"):
            return self.quantity("amount", unit)
        if "weight" not in self.covariates:
            self.say(f"{value} {stated}: this model has no weight; say the amount in {unit}")
            return None
        self.found["amount"] = (value, stated.removesuffix("/kg"))
        each = self.quantity("amount", unit)
        return None if each is None else each * self.covariates["weight"]

    def dose(self) -> Dose | None:
        """The dose, or None where there are problems."""
        self.scan()
        names, time = self.model.names("routes"), self.model.time_unit
        name = self.found.get("route", (names[0], ""))[0]
        if name not in names:
            self.say(f"this model has no route '{name}'; it has {', '.join(names)}")
            return None
        if len(names) > 1 and "route" not in self.found:
            self.say(f"say the route: {' or '.join(names)}")
        route = self.model.route(name)
        unit = next(s.unit for s in self.model.states if s.name == route.into)
        amount, every = self.amount(unit), self.quantity("every", time)
        over, rate = self.quantity("over", time), self.quantity("rate", f"{unit}/{time}")
        start = self.quantity("at", time) if "at" in self.found else 0.0
        steady = "steady" in self.found
        count = int(self.found["count"][0]) if "count" in self.found else 1
        infused = "over" in self.found or "rate" in self.found
        kind = self.found.get("kind", ("", ""))[0].casefold()
        if kind == "infusion" and not infused:
            self.say(f"an infusion needs its length or rate, as in over 1 h or rate 50 {unit}/{time}")
        if kind == "bolus" and infused:
            self.say("a bolus has no length or rate")
        if "count" in self.found and "every" not in self.found:
            self.say(f"x {count} needs an interval, as in every 12 h x {count}")
        if steady and "every" not in self.found:
            self.say("steady state needs an interval, as in every 12 h")
        if every is not None and "count" not in self.found and not steady:
            if self.until is None:
                self.say("say how often, as in x 10 (or give --until)")
            elif start is not None and every > 0:
                count = max(1, math.ceil((self.until - start) / every))
        if self.problems or amount is None or start is None:
            return None
        try:
            return Dose(
                start, amount, route.name, duration=over, rate=rate, additional=max(0, count - 1),
                interval=every if every is not None and (count > 1 or steady) else 0.0, steady_state=int(steady),
            )  # fmt: skip
        except RegimenError as error:
            self.problems += [f"'{self.text}': {p}" for p in error.problems]
            return None


def _inside(text: str, at: int) -> bool:
    """Whether a match ends within a word or number, so that the rest would be misread."""
    return bool(re.match(r"[\w.,]", text[at:])) and not re.match(r"[,;](\s|$)", text[at:]) and text[at - 1] not in " \t"


def read_doses(
    texts: Iterable[str], model: Model, covariates: Mapping[str, float] | None = None, until: float | None = None
) -> Regimen:
    """The regimen of some dose texts, in the model's units.

    Args:
        texts: one dose (with its repeats) each; see `ACCEPTED`.
        model: whose routes and units.
        covariates: ``weight`` for amounts per kg.
        until: end of the simulation: repeats without a count go on until then.

    Raises:
        RegimenError: every problem of every text, and what is accepted.
    """
    doses, problems = [], []
    for text in texts:
        reader = _Reader(text, model, covariates or {}, until)
        dose = reader.dose()
        problems += reader.problems
        doses += [] if dose is None else [dose]
    if problems:
        raise RegimenError([*problems, ACCEPTED])
    return Regimen(*doses)


def read_covariates(texts: Sequence[str], model: Model) -> dict[str, float]:
    """Covariates as ``name=value`` with or without unit, separated by commas; typical values for the others.

    Raises:
        DoseloopError: every problem, and the covariates there are.
    """
    known = {c.name: c for c in model.covariates}
    names = {a.casefold(): c.name for c in model.covariates for a in (c.name, *c.aliases)}
    values, problems = dict(model.typical_covariates), []
    for piece in (p.strip() for text in texts for p in text.split(",")):
        if not piece:
            continue
        match = re.fullmatch(rf"(\w+)\s*[=:]\s*{_NUMBER}\s*(?P<u>\S*)", piece, re.IGNORECASE)
        if not match:
            problems.append(f"'{piece}' is not understood; write name=value, as in weight=70")
            continue
        name = names.get(match.group(1).casefold())
        if name is None:
            problems.append(f"'{match.group(1)}' is no covariate of {model.id}")
            continue
        try:
            unit = known[name].unit
            stated = match.group("u") or unit
            values[name] = float(convert(float(match.group("n")), stated, unit))
        except UnitError as error:
            problems.append(f"{piece}: {error}")
    if problems:
        unit_of = {c.name: "" if c.unit in ("", "1") else f"{c.unit}, " for c in model.covariates}
        listed = ", ".join(f"{c.name} ({unit_of[c.name]}typically {c.typical:g})" for c in model.covariates)
        raise DoseloopError(problems, f"covariates of {model.id}: {listed or 'none'}")
    return values
