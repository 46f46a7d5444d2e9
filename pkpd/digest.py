"""What a model says, as one hash: equations, numbers, priors, residual errors."""

from __future__ import annotations

import hashlib
import weakref

from .model import Model
from .system import individual_graph, system

__all__ = ["model_digest"]


_known: weakref.WeakKeyDictionary[Model, str] = weakref.WeakKeyDictionary()


def model_digest(model: Model) -> str:
    """SHA-256 (hex) of the traced equations and of every declared number, whatever the file is called."""
    if model not in _known:
        _known[model] = _digest(model)
    return _known[model]


def _digest(model: Model) -> str:
    s = system(model)
    parts: list[object] = [g.instructions for g in (individual_graph(model, False), s.rhs(), s.outputs(), s.initial())]
    parts += [model.id, model.time_unit, model.method, model.theta.tolist(), model.omega.tolist()]
    parts += [
        (o.name, o.unit, o.residual and (o.residual.additive, o.residual.proportional, o.residual.log))
        for o in model.outputs
    ]
    parts += [(r.name, r.into, sorted(r.kinds), r.bioavailability, r.lag, r.duration, r.rate) for r in model.routes]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
