"""The loop that every side of a comparison runs in its own process and environment; only the standard library.

A side is a script that calls `serve(start)`. Its argument is a folder; ``start(folder)`` prepares (imports, compiles
what is compiled ahead) and returns ``run(job)``, which does one piece of work and returns a NumPy array to be compared.
The frame (`benchmarks/frame.py`) writes one JSON line for each job and reads one back.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["serve"]


def serve(
    start: Callable[[Path], Callable[[dict[str, Any]], Any]],
    *packages: str,
    clock: Callable[[], float] = time.process_time,
) -> None:
    """Answer jobs until the input ends; what a library prints goes to the standard error.

    Args:
        start: see the module.
        *packages: whose versions are told.
        clock: of processor time, in seconds.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        run = start(Path(sys.argv[1]))
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        raise
    say(ready={p: metadata.version(p) for p in packages})
    for line in sys.stdin:
        job = json.loads(line)
        try:
            wall, cpu = time.perf_counter(), clock()
            for _ in range(job.get("repeat", 1)):
                out = run(job)
            wall, cpu = time.perf_counter() - wall, clock() - cpu
            if job.get("save"):
                import numpy as np

                np.save(job["save"], np.asarray(out))
        except Exception as error:
            say(error=f"{type(error).__name__}: {error}")
            continue
        say(wall=wall, cpu=cpu, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
