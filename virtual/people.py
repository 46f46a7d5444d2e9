"""Virtual patients: one row each, of one model, with what is known of them at the bedside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model

__all__ = ["People"]


@dataclass(frozen=True, eq=False)
class People:
    """n virtual patients of one model.

    Attributes:
        model: their model.
        parameters: (n, individual parameters) in the order of ``model.individual_units``.
        covariates: (n, covariates) in the order of the model.
        known: what the usual protocol knows of each, by name, (n,) each. Glucose: ``weight`` kg, ``basal`` U/h,
            ``carb_ratio`` g/U, ``correction`` mg/dL per U. Anaesthesia: ``weight``, ``age``, ``height``, ``sex``.
        ids: (n,) names, unique.
        group: (n,) "adult", "adolescent", "child", …
        eta: (n, effects) random effects they were sampled with, where they were sampled.
        start: (n, states) where they start; default the model's own starting values.
        origin: where they come from: cohort, version, seed, split, or a file.
    """

    model: Model
    parameters: np.ndarray
    covariates: np.ndarray
    known: Mapping[str, np.ndarray]
    ids: np.ndarray
    group: np.ndarray
    eta: np.ndarray | None = None
    start: np.ndarray | None = None
    origin: str = field(default="")

    def __post_init__(self) -> None:
        n, bad = len(self.parameters), []
        shapes = {
            "parameters": (self.parameters, (n, len(self.model.individual_units))),
            "covariates": (self.covariates, (n, len(self.model.covariates))),
            "ids": (self.ids, (n,)),
            "group": (self.group, (n,)),
            **{f"known['{k}']": (v, (n,)) for k, v in self.known.items()},
        }
        if self.eta is not None:
            shapes["eta"] = (self.eta, (n, len(self.model.effects)))
        if self.start is not None:
            shapes["start"] = (self.start, (n, len(self.model.states)))
        for name, (array, shape) in shapes.items():
            if np.shape(array) != shape:
                bad.append(f"{name} has shape {np.shape(array)}; {shape} is meant")
            elif np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
                rows = np.flatnonzero(~np.isfinite(array).reshape(n, -1).all(axis=1))
                bad.append(f"{name} is not finite for {', '.join(map(str, np.asarray(self.ids)[rows][:5]))}")
        if len(set(np.asarray(self.ids).tolist())) != len(self.ids):
            bad.append("ids are not unique")
        if bad:
            raise DoseloopError([f"virtual patients of '{self.model.id}': {b}" for b in bad])

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, index: slice | np.ndarray | list[int]) -> People:
        """Some of them: a slice, an array of indices or a mask."""
        take = lambda a: None if a is None else np.ascontiguousarray(np.asarray(a)[index])  # noqa: E731
        return People(
            self.model,
            np.ascontiguousarray(self.parameters[index]),
            np.ascontiguousarray(self.covariates[index]),
            {k: np.ascontiguousarray(v[index]) for k, v in self.known.items()},
            np.asarray(self.ids)[index],
            np.asarray(self.group)[index],
            take(self.eta),
            take(self.start),
            self.origin,
        )
