"""The figure of `benchmarks/mpc_peers.py`: a warm step against the horizon and against the number of scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["curves", "draw"]

# one colour and mark a side, on both panels; what is another problem is dashed
LOOKS: dict[str, dict[str, Any]] = {
    "doseloop": {"color": "C0", "marker": "o"},
    "doseloop, blocked": {"color": "C0", "marker": "s", "ls": "--"},
    "doseloop, S2008": {"color": "C4", "marker": "s", "ls": "--"},
    "doseloop, propofol": {"color": "C5", "marker": "^", "ls": "--"},
    "rockit + fatrop": {"color": "C2", "marker": "D"},
    "CasADi + IPOPT": {"color": "C1", "marker": "v"},
    "do-mpc": {"color": "C3", "marker": "P"},
}


def curves(points: Sequence[Mapping[str, Any]], axis: str) -> dict[str, tuple[list[int], list[float]]]:
    """Of each side its points on an axis ("stages" or "scenarios"), in order, and the processor's ms there."""
    out: dict[str, tuple[list[int], list[float]]] = {}
    for p in sorted((p for p in points if p["axis"] == axis), key=lambda p: p["at"]):
        at, ms = out.setdefault(p["side"], ([], []))
        at.append(p["at"])
        ms.append(p["cpu ms"]["median"])
    return {name: out[name] for name in LOOKS if name in out}


def draw(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the figure."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained", sharey=True)
    for axis, name in ((left, "stages"), (right, "scenarios")):
        found = curves(points, name)
        for side, (at, ms) in found.items():
            axis.loglog(at, ms, label=side, ms=5, lw=1.4, **LOOKS[side])
        ticks = sorted({t for at, _ in found.values() for t in at})
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        axis.grid(True, alpha=0.25)
    left.set(
        xlabel="stages of 5 min", ylabel="a warm step from Python, ms of processor", title="Glucose, Hovorka, one draw"
    )
    right.set(xlabel="scenarios (draws of the patient)", title="N = 48 (propofol: 60)")
    handles = {h.get_label(): h for axis in (left, right) for h in axis.get_lines()}
    figure.legend(handles=[handles[k] for k in LOOKS if k in handles], loc="outside right center", fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
