"""How late a controller's warm step comes: on an idle machine, and while as many busy processes as cores want it too.

A controller sleeps between its steps: each step here comes some milliseconds after the last, so that it finds cold
caches and a processor that others have. What is counted is wall time, from the call to the plan.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from frame import ONE_THREAD, Side

__all__ = ["ABOVE", "DEADLINES", "busy", "lateness", "measure"]

DEADLINES = (1.0, 5.0, 10.0, 100.0)  # ms
ABOVE = "cost above the idle one's"
PAUSE = 0.005  # s between steps
# sums over 4 MB again and again: takes a core and its caches
BUSY = "import numpy as np\na = np.ones(500_000)\nwhile True:\n    a.sum()\n"


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that never rest, for as long as the block lasts."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY], env=os.environ | ONE_THREAD) for _ in range(count)]
    try:
        yield others
    finally:
        for p in others:
            p.kill()
            p.wait()


def lateness(steps: np.ndarray, deadlines: Sequence[float] = DEADLINES) -> dict[str, Any]:
    """Distribution of the wall time of steps (steps, 4: see `peers.ocp.chain`), ms, and shares beyond deadlines."""
    ms = 1e3 * steps[:, 0]
    median, p99, p999 = (float(q) for q in np.quantile(ms, [0.5, 0.99, 0.999]))
    return {
        "steps": len(ms),
        "ms": {"median": median, "p99": p99, "p99.9": p999, "max": float(ms.max())},
        "cpu ms": float(np.median(1e3 * steps[:, 1])),
        "beyond": {f"{d:g} ms": float((ms > d).mean()) for d in deadlines},
        "ended by its own deadline": float(steps[:, 2].mean()),
    }


def measure(
    case: str,
    ways: Mapping[str, tuple[Side, Mapping[str, Any], int]],
    folder: Path,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Each way of planning a case's steps, idle and loaded.

    ``ways``: by name the side, what its job says beyond the case, and how many times the case's steps are done.
    The load is one busy process for each core.
    """
    path, cores = folder / "late.npy", os.cpu_count() or 1
    lines: list[dict[str, Any]] = []
    for name, (side, more, times) in ways.items():
        idle_cost: np.ndarray | None = None
        for load in (0, cores):
            progress(f"{name}: {load} busy processes beside it")
            job = {"case": case, **more, "pause": PAUSE, "times": times, "save": str(path)}
            side.run(job | {"times": 1})
            with busy(load):
                side.run(job)
            steps = np.load(path)
            line = {"name": name, "busy processes": load, **lateness(steps)}
            if more.get("deadline"):
                line["own deadline ms"] = 1e3 * more["deadline"]
                line["beyond"]["its own"] = float((steps[:, 0] > more["deadline"]).mean())
            if idle_cost is None:
                idle_cost = steps[:, 3]
            elif np.isfinite(idle_cost).all():
                # the same snapshots in the same order: a plan cut short may cost more than the one in peace
                over = (steps[:, 3] - idle_cost) / np.abs(idle_cost)
                line[ABOVE] = {"p99": float(np.quantile(over, 0.99)), "max": float(over.max())}
            lines.append(line)
    return lines
