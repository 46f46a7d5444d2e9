"""The published models, one file each; a new file is found without a further line.

``load("vancomycin_adult_goti2018")`` imports that file alone; the file's name is the model's id.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from ..pkpd.errors import ModelError
from ..pkpd.model import Model

__all__ = ["all_models", "ids", "load"]


def ids() -> tuple[str, ...]:
    """The ids of all models, in alphabetical order (no model is imported)."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load(id: str) -> Model:
    """The model of that id.

    Raises:
        ModelError: there is none of that id (the nearest is named), or its file holds no ``MODEL`` of that id.
    """
    known = ids()
    if id not in known:
        near = difflib.get_close_matches(id, known, n=1, cutoff=0.3)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ModelError(f"no model has the id '{id}': {hint}known: {', '.join(known)}")
    module = importlib.import_module(f".{id}", __name__)
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise ModelError("the file defines no MODEL", file=module.__file__, line=1)
    if model.id != id:
        raise ModelError(f"MODEL has the id '{model.id}', the file is named '{id}'", file=module.__file__, line=1)
    return model


def all_models() -> tuple[Model, ...]:
    """Every model, in the order of `ids`."""
    return tuple(load(i) for i in ids())
