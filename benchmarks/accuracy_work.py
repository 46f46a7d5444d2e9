"""The figure of `benchmarks/simulation.py`: error against processor time, a panel for each problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# a colour for each side, a marker for each of its methods
COLOURS = {
    "doseloop": "#c8102e",
    "SciPy": "#4c78a8",
    "numbalsoda": "#2a9d5c",
    "diffrax": "#8e6bbf",
    "CasADi": "#e08a1e",
    "simglucose": "#444444",
    "python-anesthesia-simulator": "#444444",
}
MARKERS = "osD^v"


def draw(problems: dict[str, Any], path: Path) -> None:
    """Write the figure."""
    figure, axes = plt.subplots(2, 2, figsize=(15, 9), constrained_layout=True)
    for axis, r in zip(axes.flat, problems.values()):
        seen: dict[str, int] = {}
        methods = list(dict.fromkeys(p["method"] for p in r["points"]))
        for method in methods:
            side = method.partition(" ")[0]
            k = seen[side] = seen.get(side, -1) + 1
            points = [p for p in r["points"] if p["method"] == method and np.isfinite(p["difference"])]
            ms = [p["cpu ms"]["median"] for p in points]
            error = [max(p["difference"], 1e-15) for p in points]
            style = "-" if len(points) > 1 else ""
            axis.plot(
                ms, error, style, marker=MARKERS[k], color=COLOURS[side], lw=2.2 if side == "doseloop" else 1.2,
                ms=7 if side == "doseloop" else 5, mfc="white" if k else COLOURS[side], label=method, alpha=0.95,
                zorder=3 if side == "doseloop" else 2,
            )  # fmt: skip
        axis.axhline(r["target"], color="grey", lw=0.8, ls=":")
        axis.text(0.995, r["target"], "target ", transform=axis.get_yaxis_transform(), ha="right", va="bottom",
                  color="grey", fontsize=8)  # fmt: skip
        axis.set(xscale="log", yscale="log", title=r["title"], xlabel="processor time, ms a patient",
                 ylabel="largest error, of the output's peak")  # fmt: skip
        axis.grid(which="major", alpha=0.25)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for axis in axes.flat[len(problems) :]:
        axis.set_axis_off()
    figure.suptitle("Accuracy and work, one thread: further left and lower is better")
    figure.savefig(path, dpi=90)
    plt.close(figure)
