"""What sampled cohorts share: drawing anew until a patient is accepted, and keeping what took long to compute.

Patient k of a split is the same person whatever the number drawn: each attempt's numbers are a function of the seed,
the patient and the attempt (`virtual.draws`).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model
from ..pkpd.objects import cache_folder
from .draws import EFFECTS, normals

__all__ = ["kept", "random_effects", "sampled"]

Candidates = Callable[[np.ndarray, int], tuple[Mapping[str, np.ndarray], np.ndarray]]


def sampled(what: str, who: np.ndarray, candidates: Candidates, attempts: int = 200) -> dict[str, np.ndarray]:
    """For each patient the first candidate that is accepted.

    Args:
        what: the cohort's name, for the error.
        who: (n,) patients' numbers.
        candidates: ``candidates(who, attempt) -> (columns, accepted)``: arrays of one row a patient, and a mask.
        attempts: how many at most.

    Returns:
        The columns' rows of all patients, and ``attempts`` (n,): how many were needed.

    Raises:
        DoseloopError: somebody was never accepted.
    """
    found: dict[str, np.ndarray] = {}
    wanting = np.arange(len(who))
    for attempt in range(attempts):
        columns, accepted = candidates(who[wanting], attempt)
        rows = {**columns, "attempts": np.full(len(wanting), attempt + 1)}
        for name, values in rows.items():
            if name not in found:
                found[name] = np.zeros((len(who), *values.shape[1:]), dtype=values.dtype)
            found[name][wanting[accepted]] = values[accepted]
        wanting = wanting[~accepted]
        if not len(wanting):
            return found
    raise DoseloopError(f"{what}: {len(wanting)} of {len(who)} patients were not accepted in {attempts} attempts")


def random_effects(m: Model, seed: int, who: np.ndarray) -> np.ndarray:
    """Random effects (n, effects) of the patients ``who``: normal with the model's covariance."""
    if not m.effects:
        return np.zeros((len(who), 0))
    return normals(seed, who, EFFECTS, len(m.effects)) @ np.linalg.cholesky(m.omega).T


def kept(name: str, stamp: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by name from the user's cache folder, or made and put there.

    Args:
        name: what it is, for the file's name.
        stamp: everything it depends on, as text: code by content (`pkpd.jit.content_stamp`), seeds, counts.
        make: computes it. A file that is damaged, or a folder that cannot be written, costs time and nothing else.
    """
    path = cache_folder() / "cohorts" / f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(path) as stored:
            return {k: stored[k] for k in stored.files}
    except (OSError, ValueError, EOFError, KeyError):
        pass
    made = make()
    _store(path, made)
    return made


def _store(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as f:
            np.savez(f, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except OSError:
        return
