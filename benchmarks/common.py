"""What every benchmark shares: rounds with medians, the machine, results as JSON, a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def rounds(work: Mapping[str, Callable[[], Any]], count: int = 5) -> dict[str, dict[str, float]]:
    """Run each piece of work in turn, A B A B …, after one warm-up; seconds as median, least and most."""
    for run in work.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(count):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {n: {"median": statistics.median(s), "min": min(s), "max": max(s)} for n, s in seconds.items()}


def machine() -> dict[str, Any]:
    """Processor, cores, load, versions, commit: what a number depends on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    packages = ("casadi", "llvmlite", "numba", "numpy", "scipy")
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {p: metadata.version(p) for p in packages},
        "commit": commit.strip(),
    }


def save(name: str, results: Mapping[str, Any], folder: Path = RESULTS, **about: Any) -> dict[str, Any]:
    """Write ``results/name.json``, with the machine and what is said ``about`` it; returns what was written."""
    folder.mkdir(exist_ok=True)
    everything = {"machine": machine() | about, **results}
    (folder / f"{name}.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return everything


def stored(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """What `save` left there before; empty if nothing."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}  # type: ignore[no-any-return]


def show(rows: list[tuple[str, str]]) -> None:
    """Print a two-column table."""
    width = max(len(a) for a, _ in rows)
    for a, b in rows:
        print(f"{a:<{width}}  {b}")
