"""An initial-value problem as the sides find it in their folder, and its equations in the dialect of each library.

``problem.npz``: ``p`` (patients, parameters), ``x0`` (patients, states), ``edges`` (segments + 1), ``jump`` (segments,
states) added to the state as a segment begins, ``u`` (patients, segments, inputs) held over it, ``times`` to be seen at
(in a segment's (start, stop]), ``columns`` of the outputs. ``equations.json``: right-hand side and outputs as
straight-line Python, written by doseloop from its trace of the model: everybody solves the same equations, with common
subexpressions taken out. No doseloop is imported here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Problem", "function", "in_jax", "in_numba", "jax_words", "read"]


@dataclass(frozen=True)
class Problem:
    """The arrays named above, the texts, and for each segment where its times begin and end."""

    p: np.ndarray
    x0: np.ndarray
    edges: np.ndarray
    jump: np.ndarray
    u: np.ndarray
    times: np.ndarray
    columns: np.ndarray
    rhs: str
    outputs: str

    @property
    def first(self) -> np.ndarray:
        """Index of each segment's first time; one more at the end."""
        return np.searchsorted(self.times, self.edges, side="right")


def read(folder: Path) -> Problem:
    """The problem of a folder."""
    with np.load(folder / "problem.npz") as data:
        arrays = {k: np.ascontiguousarray(data[k]) for k in data.files}
    return Problem(**arrays, **json.loads((folder / "equations.json").read_text(encoding="utf-8")))


def function(text: str, words: dict[str, Any]) -> Callable[..., Any]:
    space = dict(words)
    exec(compile(text, "<equations>", "exec"), space)
    found: Callable[..., Any] = space[text.split("(", 1)[0].split()[1]]
    return found


def in_numba(problem: Problem) -> tuple[Callable[..., None], Callable[..., None]]:
    """``rhs(t, x, p, u, dx)`` and ``outputs(t, x, p, u, y)`` compiled by Numba, writing into their last argument."""
    import numba as nb

    # the usual fast paths of a hand-written function: NaN handling is not asked of a peer
    words: dict[str, Any] = {
        "exp": math.exp,
        "log": math.log,
        "sqrt": math.sqrt,
        "tanh": math.tanh,
        "maximum": nb.njit(lambda a, b: a if a > b else b),
        "minimum": nb.njit(lambda a, b: a if a < b else b),
        "power": nb.njit(lambda a, b: a**b),
        "where": nb.njit(lambda c, a, b: a if c else b),
        "float": nb.njit(lambda flag: 1.0 if flag else 0.0),
    }

    def made(text: str) -> Any:
        lines = text.replace("(scalars, x, p, u, k)", "(t, x, p, u, out)").replace("scalars[0]", "t").splitlines()
        kept = [line for line in lines if "out = [" not in line and line.strip() != "return out"]
        return nb.njit(function("\n".join([*kept, "    return None"]), words), error_model="numpy")

    return made(problem.rhs), made(problem.outputs)


def jax_words() -> dict[str, Any]:
    """What the words of the equations mean to JAX."""
    import jax.numpy as jnp

    return {
        "exp": jnp.exp,
        "log": jnp.log,
        "sqrt": jnp.sqrt,
        "tanh": jnp.tanh,
        "maximum": jnp.maximum,
        "minimum": jnp.minimum,
        "power": jnp.power,
        "where": jnp.where,
        "float": lambda flag: jnp.where(flag, 1.0, 0.0),
    }


def in_jax(problem: Problem) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``rhs(t, x, p, u)`` and ``outputs(t, x, p, u)`` for JAX."""
    import jax.numpy as jnp

    words = jax_words()

    def made(text: str) -> Callable[..., Any]:
        f = function(text, words)
        return lambda t, x, p, u: jnp.stack([jnp.asarray(v, dtype=float) for v in f([t], x, p, u, None)])

    return made(problem.rhs), made(problem.outputs)
