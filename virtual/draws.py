"""Random numbers for cohorts: row k of a draw depends on the seed and on k, not on how many rows are drawn."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import hashlib

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from .streams import normal_of, uniforms

__all__ = ["EFFECTS", "PERSON", "SPLITS", "normals", "quantiles", "seed_of", "uniform_draws"]

SPLITS = ("train", "validation", "test")
PERSON, EFFECTS = 101, 102  # the cohorts' streams, beside those of `virtual.streams`


def seed_of(cohort: str, version: int, split: str) -> int:
    """The seed of a split of a published cohort: from its name and version, so that no two share numbers.

    Raises:
        DoseloopError: no such split.
    """
    if split not in SPLITS:
        raise DoseloopError(f"there is no split '{split}'; there are {', '.join(SPLITS)}")
    text = f"doseloop cohort {cohort} {version} {split}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def uniform_draws(seed: int, who: np.ndarray, stream: int, columns: int, first: int = 0) -> np.ndarray:
    """(len(who), columns) uniforms in (0, 1) of the patients ``who``, from draw ``first`` on (4 columns a draw)."""
    out = np.empty((len(who), -(-columns // 4) * 4))
    fill(seed, np.ascontiguousarray(who, dtype=np.int64), stream, first, out)
    return out[:, :columns]


def normals(seed: int, who: np.ndarray, stream: int, columns: int, first: int = 0) -> np.ndarray:
    """(len(who), columns) standard normals: `quantiles` of the same uniforms."""
    return quantiles(uniform_draws(seed, who, stream, columns, first))


def quantiles(u: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of uniforms, any shape."""
    out = np.array(u, dtype=float)
    bend(out.reshape(-1))
    return out


@jit
def fill(seed, who, stream, first, out):
    """out[i] = the patient's uniforms, four a draw."""
    for i in range(out.shape[0]):
        for j in range(0, out.shape[1], 4):
            out[i, j], out[i, j + 1], out[i, j + 2], out[i, j + 3] = uniforms(seed, who[i], stream, first + j // 4)


@jit
def bend(u):
    """Uniforms to standard normals, in place."""
    for i in range(u.shape[0]):
        u[i] = normal_of(u[i])
