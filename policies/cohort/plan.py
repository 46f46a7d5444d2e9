"""What a cohort is run for, and the manifest of it in the folder: a run may be gone on with by nobody else.

::

    OUT/manifest.json        the plan, and the versions of what computed
    OUT/block-000123.npz     scores of the patients of block 123 (`policies.cohort.block`)
    OUT/cohort.json, .md, .png    the summary
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ... import __version__
from ...models import load
from ...pkpd.digest import model_digest
from ...pkpd.errors import DoseloopError
from ...pkpd.jit import content_stamp

__all__ = ["DAY", "MANIFEST", "Plan", "claim"]

FORMAT, MANIFEST = 1, "manifest.json"
DAY = 1440.0  # min
PACKAGES = ("casadi", "llvmlite", "numba", "numpy")  # what numbers may hang on


@dataclass(frozen=True)
class Plan:
    """All that a patient's numbers depend on, and the size of blocks (on which they do not depend).

    Attributes:
        therapy: a scene that has scores of glucose (`policies.scenes.SCENES`).
        model: the model that the patients are.
        split, group: of the cohort (`virtual.glucose_cohort`).
        surroundings: of the scene: which meals.
        policy: of the scene; ``believes``: the model it believes in, None for the therapy's first.
        guard: whether every action passes the guard.
        days: length.
        seed: of the world; patient k draws from it by his own number.
        size: patients of a block.
    """

    therapy: str
    model: str
    split: str
    group: str
    surroundings: str
    policy: str
    believes: str | None
    guard: bool
    days: float
    seed: int
    size: int

    def blocks(self, patients: int) -> list[tuple[int, int, int]]:
        """Of the first ``patients``: number, first patient and patients of each block."""
        starts = range(0, patients, self.size)
        return [(k, first, min(self.size, patients - first)) for k, first in enumerate(starts)]

    def manifest(self) -> dict[str, Any]:
        """The plan and the versions, as JSON has them. ``code`` is of our files that a block runs, by content."""
        versions = {"doseloop": __version__} | {p: metadata.version(p) for p in PACKAGES}
        versions["model"] = model_digest(load(self.model))[:16]
        versions["code"] = content_stamp(str(Path(__file__).with_name("block.py")))[:16]
        return {"format": FORMAT, "plan": asdict(self), "versions": versions}


def claim(plan: Plan, folder: Path, resume: bool) -> None:
    """Make a folder this plan's: write its manifest, or find it there already.

    Raises:
        DoseloopError: another run's manifest is there, or this one's without ``resume``; it says what differs.
    """
    path, now = folder / MANIFEST, plan.manifest()
    if path.exists():
        before = _read(path)
        if not resume:
            raise DoseloopError(f"{folder} holds a cohort already: --resume goes on with it; or choose another --out")
        bad = _differences(before, now)
        if bad:
            raise DoseloopError(
                [f"{path}: a cohort that was begun with other settings cannot go on with these: {b}" for b in bad]
            )
        return
    kept = sorted(folder.glob("block-*.npz"))
    if kept:
        raise DoseloopError(f"{folder} holds {len(kept)} blocks and no {MANIFEST}: nobody knows of what they are")
    half = path.with_name(path.name + ".part")
    half.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(found[k], dict) for k in ("plan", "versions")):
            raise TypeError("no plan or versions")
    except (ValueError, KeyError, TypeError) as e:
        raise DoseloopError(f"{path}: no manifest of ours ({e}): choose another --out") from e
    return dict(found)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    bad = [f"format {before.get('format')}, now {now['format']}"] if before.get("format") != now["format"] else []
    for part in ("plan", "versions"):
        names = dict.fromkeys([*now[part], *before[part]])
        pairs = [(k, before[part].get(k), now[part].get(k)) for k in names]
        words = {"size": "patients of a block", "code": "content of our code", "model": part[:-1] + " of the model"}
        for k, was, new in pairs:
            if was != new:
                bad.append(f"{(words.get(k, k) if part == 'versions' or k == 'size' else k)} {was!r}, now {new!r}")
    return bad
