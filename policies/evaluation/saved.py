"""Evaluations as JSON: every episode's return, seeds, versions, commit, so that all else can be made again from it.

::

    {"format": 1, "env": …, "patients": …, "seed": …, "persons": …, "seeds": […],
     "who": […], "group": […], "rows": [{"policy": …, "arm": …,
     "returns": […], "cost": […], "scores": {…}, "made": {"commit": …, "versions": …}, …}, …]}

Numbers are kept to six digits, and a list of one number stands for as many as there are patients. Everything that is
reported is computed from what is kept.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...pkpd.errors import DoseloopError
from .match import Result

__all__ = ["Saved", "made", "settled"]

FORMAT = 1
PACKAGES = ("gymnasium", "llvmlite", "numba", "numpy", "scipy")
NUMBERS = re.compile(r"\[[\s\d.,eE+\-]+\]|\[(?:\s*(?:true|false|null|\"[\w \-]*\"|-?[\d.eE+\-]+),?)+\s*\]")


def made() -> dict[str, Any]:
    """What a number depends on beside its seed: versions, commit, processor."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.npz")
        commit = git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        commit = ""  # installed from a wheel
    versions = {"doseloop": __version__, "python": platform.python_version()}
    versions |= {p: metadata.version(p) for p in PACKAGES}
    return {"commit": commit, "versions": versions, "processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


@dataclass(eq=False)
class Saved:
    """An evaluation under way or done.

    Attributes:
        env, patients, seed: of the match. persons: out of how many of the test split the patients come.
        rows: results by (policy, arm); ``about`` the same of what was noted beside (label, training, commit …).
    """

    env: str
    patients: int
    seed: int
    persons: int
    rows: dict[tuple[str, str], Result] = field(default_factory=dict)
    about: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, result: Result, **about: Any) -> Result:
        """Take in a row; hands back what is kept of it."""
        key, met = (result.policy, result.arm), next(iter(self.rows.values()), result)
        if not (np.array_equal(met.who, result.who) and np.array_equal(met.seeds, result.seeds)):
            raise ValueError(f"{result.policy}, {result.arm}: other patients than those of the rows that are there")
        self.rows[key] = kept = settled(result)
        self.about[key] = about
        return kept

    @property
    def arms(self) -> list[str]:
        """In the order they were taken in."""
        return list(dict.fromkeys(a for _, a in self.rows))

    def of(self, arm: str) -> dict[str, Result]:
        """The rows of an arm by policy."""
        return {p: r for (p, a), r in self.rows.items() if a == arm}

    def write(self, path: Path) -> Path:
        """Write it, whole or not at all."""
        shared = next(iter(self.rows.values()), None)
        data = {
            "format": FORMAT,
            "env": self.env,
            "patients": self.patients,
            "seed": self.seed,
            "persons": self.persons,
            "seeds": [] if shared is None else shared.seeds.tolist(),
            "who": [] if shared is None else shared.who.tolist(),
            "group": [] if shared is None else shared.group.tolist(),
            "rows": [{**_row(r), **self.about[k]} for k, r in self.rows.items()],
        }
        text = NUMBERS.sub(lambda m: re.sub(r"\s+", "", m.group()), json.dumps(data, indent=1, allow_nan=False))
        half = path.with_name(path.name + ".part")
        half.write_text(text + "\n", encoding="utf-8")
        half.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Saved:
        """What `write` wrote.

        Raises:
            DoseloopError: it is no such file.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise DoseloopError(f"{path}: format {data['format']}; {FORMAT} is meant")
            out = cls(data["env"], data["patients"], data["seed"], data["persons"])
            for row in data["rows"]:
                result, about = _result(row, data)
                out.rows[result.policy, result.arm], out.about[result.policy, result.arm] = result, about
        except (ValueError, KeyError, TypeError) as e:
            raise DoseloopError(f"{path}: no evaluation of ours: {type(e).__name__} {e}") from e
        return out


def _tidy(values: np.ndarray) -> list[float | None]:
    """Six digits; null where a number is infinite; one of them where all are the same."""
    v = np.asarray(values, dtype=float)
    out = [float(f"{x:.6g}") if np.isfinite(x) else None for x in v.tolist()]
    return out[:1] if out and all(x == out[0] for x in out) else out


def _untidy(values: Sequence[float | None], n: int) -> np.ndarray:
    return np.broadcast_to(np.array([np.inf if v is None else v for v in values], dtype=float), (n,)).copy()


TABLES = ("parts", "scores", "filter")


def _row(r: Result) -> dict[str, Any]:
    return {
        "policy": r.policy,
        "arm": r.arm,
        "decisions": r.decisions,
        "seconds": float(f"{r.seconds:.6g}"),
        "returns": _tidy(r.returns),
        "cost": _tidy(r.cost),
        "ended": np.flatnonzero(r.ended).tolist(),
        **{t: {k: _tidy(v) for k, v in getattr(r, t).items()} for t in TABLES},
    }


def _result(row: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[Result, dict[str, Any]]:
    n = len(data["seeds"])
    ended = np.zeros(n, dtype=bool)
    ended[row["ended"]] = True
    known: Sequence[str] = ("policy", "arm", "decisions", "seconds", "returns", "cost", "ended", *TABLES)
    result = Result(
        data["env"],
        row["policy"],
        row["arm"],
        np.array(data["seeds"], dtype=np.int64),
        np.array(data["who"], dtype=np.int64),
        np.array(data["group"]),
        _untidy(row["returns"], n),
        _untidy(row["cost"], n),
        ended,
        decisions=row["decisions"],
        seconds=row["seconds"],
        **{t: {k: _untidy(v, n) for k, v in row[t].items()} for t in TABLES},
    )
    return result, {k: v for k, v in row.items() if k not in known}


def settled(result: Result) -> Result:
    """A result as it will be read again: what is reported now and later is the same."""
    match = {"env": result.env, **{k: getattr(result, k).tolist() for k in ("seeds", "who", "group")}}
    return _result(json.loads(json.dumps(_row(result))), match)[0]
