"""The figure of `benchmarks/to_score.py`: score against seconds of learning, every seed a thin line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TICKS = (0.7, 0.8, 0.9, 1, 1.2, 1.4, 12, 14, 17, 20, 25, 30, 40, 60, 80, 100, 150)
FIRST = 0.5  # s: where the untrained network stands, which the log axis has no place for
COLOURS = {"1 thread": "#c8102e", "2 threads": "#e08a1e", "plain": "#4c78a8"}
LEVELS = (("usual", "--", "usual protocol"), ("halfway", ":", "halfway"), ("near", ":", "3/4"), ("mpc", "-", "MPC"))


def draw(parts: Mapping[str, Any], path: Path) -> None:
    """Write the figure: losses (−return) on a log axis that runs downwards, so that better is up."""
    tasks = [t for t in ("glucose", "vancomycin") if t in parts]
    figure, axes = plt.subplots(1, len(tasks), figsize=(8 * len(tasks), 5.5), constrained_layout=True, squeeze=False)
    for axis, task in zip(axes[0], tasks):
        found = {k: parts[task]["curves"][k] for k in parts[task]["curves"]}
        if task == "glucose" and "plain" in parts:
            found["plain"] = parts["plain"]["curves"]
        for name, curves in found.items():
            label = "gymnasium.make, SB3's defaults" if name == "plain" else f"as it ships, {name}"
            for k, rows in enumerate(curves):
                seconds, losses = [max(r["wall"], FIRST) for r in rows], [-r["score"] for r in rows]
                style = {"lw": 0.9, "color": COLOURS[name], "marker": ".", "ms": 3}
                axis.plot(seconds, losses, **style, label=label if k == 0 else None)
        for key, dashes, text in LEVELS:
            level = -parts[task]["scores"][key]
            axis.axhline(level, color="grey", lw=1, ls=dashes)
            where = {"transform": axis.get_yaxis_transform(), "va": "bottom", "ha": "right"}
            axis.text(1.0, level, f"{text} {-level:.3g}", color="#444444", fontsize=8, **where)
        axis.set(xscale="log", yscale="log", title=task, ylabel="mean return of validation patients")
        axis.set_xlabel("seconds of learning by the wall (examinations not counted; at the left end: untrained)")
        axis.invert_yaxis()
        bottom, top = axis.get_ylim()
        ticks = [v for v in TICKS if top <= v <= bottom]
        axis.set_yticks(ticks, [f"−{v:g}" for v in ticks])
        axis.set_yticks([], minor=True)
        axis.grid(which="major", alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    figure.savefig(path, dpi=90)
    plt.close(figure)
