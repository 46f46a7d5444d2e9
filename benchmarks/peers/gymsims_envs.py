"""glucosim's and anesthesim's side of benchmarks/envs.py: Gymnasium environments of one patient each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anesthesim  # noqa: F401  (registers its ids)
import glucosim  # noqa: F401
import gymnasium
import numpy as np
from stepping import Stepping, children_too
from worker import serve


def stepping() -> Stepping:
    """The two whose task is ours: closed-loop insulin, propofol by BIS with stimulation."""
    return Stepping(
        {
            "glucosim": partial(gymnasium.make, "glucosim/ClosedLoop-v0", difficulty="medium"),
            "anesthesim": partial(gymnasium.make, "anesthesim/PropofolControl-v0", difficulty="hard"),
        }
    )


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """Steps."""
    return stepping()


if __name__ == "__main__":
    serve(start, "glucosim", "anesthesim", "gymnasium", "numpy", clock=children_too)
