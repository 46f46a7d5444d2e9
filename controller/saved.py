"""A recommendation as JSON, and its replay.

The file holds the record, the options and the whole answer, every number to its last bit. ``replay`` makes the answer
again: on the same machine with the same versions it must be the same bits; elsewhere numbers are compared within a
stated tolerance, and probabilities within what a few draws falling to the other side of a limit can do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import therapies
from ..pkpd.errors import RecordError
from ..pkpd.record import Record
from .provenance import provenance
from .recommend import Candidate, Options, Recommendation, recommend

__all__ = ["TOLERANCE", "Replay", "load", "replay", "save", "to_dict"]

FORMAT = "doseloop.recommendation/1"
TOLERANCE = 1e-6  # relative, between processors or versions; of probabilities 0.01 (two draws of 200)


def _candidate(c: Candidate) -> dict[str, Any]:
    return {
        "regimen": c.regimen.to_dicts(),
        "interval": c.interval,
        "p_target": c.p_target,
        "p_harm": c.p_harm,
        "allowed": c.allowed,
        "bands": {name: list(b) for name, b in c.bands.items()},
        "utility": c.utility,
        "guard": [v.sentence for v in c.verdicts],
    }


def to_dict(r: Recommendation) -> dict[str, Any]:
    """The recommendation as plain values for JSON."""
    twin = r.posterior
    models = [
        {
            "id": p.model.id,
            "weight": float(w),
            "effects": dict(zip(p.layout.effects.names, map(float, p.map))),
            "information": {k: float(v) for k, v in p.information().items()},
            "log_evidence": float(p.log_evidence),
            "effective_draws": float(p.ess),
            "pareto_k": float(p.pareto_k) if math.isfinite(p.pareto_k) else None,
            "notes": list(p.notes),
        }
        for p, w in (zip(twin.parts, twin.model_weights) if twin else ())
    ]
    f = r.forecast
    return {
        "format": FORMAT,
        "therapy": r.therapy.id,
        "purpose": r.therapy.purpose,
        "record": json.loads(r.record.to_json()),
        "options": asdict(r.options),
        "outcome": r.outcome.name,
        "sentence": r.sentence,
        "reasons": list(r.reasons),
        "regimen": None if r.regimen is None else r.regimen.to_dicts(),
        "candidates": [_candidate(c) for c in r.candidates],
        "hold": None if r.hold is None else _candidate(r.hold),
        "models": models,
        "optimum": {
            f"{k:g}": {"amounts": p.amounts.tolist(), "feasible": bool(p.feasible)} for k, p in r.plans.items()
        },
        "forecast": None
        if f is None
        else {
            "output": f.output,
            "unit": f.unit,
            "times": f.times.tolist(),
            "probabilities": [0.05, 0.25, 0.5, 0.75, 0.95],
            "quantiles": f.quantiles().tolist(),
        },
        "provenance": r.provenance,
    }


def save(r: Recommendation, path: str | Path) -> Path:
    """Write the recommendation as JSON; returns the path."""
    target = Path(path)
    target.write_text(json.dumps(to_dict(r), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return target


def load(path: str | Path) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        RecordError: the file is no recommendation.
    """
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"not a saved recommendation: {error}", source=str(path)) from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise RecordError(f"not a saved recommendation: the JSON must have format {FORMAT!r}", source=str(path))
    return saved


@dataclass(frozen=True)
class Replay:
    """What making a saved recommendation again has shown.

    Attributes:
        identical: every value is the same, bit for bit.
        within_tolerance: what differs does so within `TOLERANCE` (always true where identical).
        same_machine: processor and versions are those of the file.
        differences: what differs, at most 50 lines; changed hashes, versions and limits come first.
        sentence: the result in words.
        again: the recommendation as made now.
    """

    identical: bool
    within_tolerance: bool
    same_machine: bool
    differences: tuple[str, ...]
    sentence: str
    again: Recommendation


def _differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, bool]]:
    """Paths that differ, each with whether it lies within the tolerance."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old or key not in new:
                yield f"{where}.{key}: only in the {'new' if key not in old else 'saved'} one".lstrip("."), False
            else:
                yield from _differences(old[key], new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new)):
            yield from _differences(a, b, f"{where}[{i}]")
    elif old != new:
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
        if numbers:
            chance = "p_target" in where or "p_harm" in where or "utility" in where
            close = math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=0.01 if chance else 1e-12)
            yield f"{where.lstrip('.')}: {old!r} saved, {new!r} now", close
        else:
            yield f"{where.lstrip('.')}: {str(old)[:80]} saved, {str(new)[:80]} now", False


def replay(source: str | Path | dict[str, Any]) -> Replay:
    """Make a saved recommendation again from its own record and options, and compare.

    Args:
        source: path of the file, or what `load` gave.

    Raises:
        RecordError: the file is no recommendation, or its record cannot be read.
    """
    saved = source if isinstance(source, dict) else load(source)
    try:
        therapy = therapies.load(saved["therapy"])
        record = Record.from_json(json.dumps(saved["record"]))
        options = Options(**saved["options"])
    except (KeyError, TypeError) as error:
        raise RecordError(f"not a saved recommendation: {error!r}") from error
    again = recommend(therapy, record, options)
    now = json.loads(json.dumps(to_dict(again)))
    old_proof, new_proof = saved.get("provenance", {}), json.loads(json.dumps(provenance(therapy, record, options)))
    same = all(old_proof.get(k) == new_proof[k] for k in ("processor", "versions"))
    found = list(_differences(saved, now))
    found.sort(key=lambda d: not d[0].startswith("provenance"))
    values = [d for d in found if not d[0].startswith("provenance")]
    identical, close = not found, all(ok for _, ok in values)
    if identical:
        sentence = "Identical: every value is the same, bit for bit."
    elif not values:
        sentence = "The same answer, bit for bit; " + "; ".join(d for d, _ in found) + "."
    elif close:
        place = "on this machine" if same else "on another machine or with other versions"
        sentence = f"The same answer {place} within {TOLERANCE:g}: {len(values)} numbers differ."
    else:
        sentence = f"It differs: {sum(not ok for _, ok in values)} of {len(values)} differences exceed the tolerance."
    return Replay(identical, close, same, tuple(d for d, _ in found[:50]), sentence, again)
