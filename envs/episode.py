"""What an episode draws at its start: who the patient is, at what hour it begins. By counter, from (seed, episode)."""
# The compiled function carries no annotations: Numba infers the types.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit
from ..virtual.streams import uniforms

__all__ = ["EPISODE", "episode_draws"]

EPISODE = 201  # a stream of its own, beside those of `virtual.streams` and `virtual.draws`


def episode_draws(seeds: np.ndarray, episodes: np.ndarray, columns: int) -> np.ndarray:
    """(m, columns) uniforms in (0, 1) of m episodes; those of one do not depend on the others."""
    out = np.empty((len(seeds), -(-columns // 4) * 4))
    _fill(np.ascontiguousarray(seeds, dtype=np.int64), np.ascontiguousarray(episodes, dtype=np.int64), out)
    return out[:, :columns]


@jit
def _fill(seeds, episodes, out):
    """out[i] = the episode's uniforms, four a draw."""
    for i in range(out.shape[0]):
        for j in range(0, out.shape[1], 4):
            out[i, j], out[i, j + 1], out[i, j + 2], out[i, j + 3] = uniforms(seeds[i], episodes[i], EPISODE, j // 4)
