"""One number for all patients, or one for each, as lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES

__all__ = ["lanes_of"]


def lanes_of(values: Any, n: int, what: str) -> np.ndarray:
    """A number or (n,) numbers as (blocks · 8,), idle lanes repeating the last.

    Raises:
        DoseloopError: the shape is another, or a value is not finite.
    """
    row = np.asarray(values, dtype=float)
    if row.shape not in ((), (n,)):
        raise DoseloopError(f"{what} has shape {row.shape}; one number or ({n},) is meant")
    if not np.isfinite(row).all():
        raise DoseloopError(f"{what} is not finite")
    full = np.broadcast_to(row, (n,))
    return np.concatenate([full, np.repeat(full[-1:], -n % LANES)])
