"""Where a network came from: versions of what made it, and the commit."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ... import __version__

__all__ = ["provenance"]

PACKAGES = ("numpy", "numba", "gymnasium", "torch", "stable_baselines3", "sb3_contrib")


@cache
def provenance() -> dict[str, Any]:
    """``versions`` and ``git`` (None where this is no checkout; with "+" behind where files had been changed)."""
    found = {"doseloop": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": found, "git": _commit(Path(__file__).resolve().parents[2])}


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    try:
        say = [
            subprocess.run(["git", "-C", str(root), *what], capture_output=True, text=True, check=True).stdout.strip()
            for what in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return say[0] + ("+" if say[1] else "")
