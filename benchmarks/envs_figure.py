"""The figure of `benchmarks/envs.py`: steps a second against the number of lanes, ours and others'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "glucose": ("glucose",),
    "propofol": ("propofol",),
    "vancomycin, phenobarbital": ("vancomycin", "phenobarbital"),
}
OWN = {"glucose": "#c8102e", "propofol": "#c8102e", "vancomycin": "#c8102e", "phenobarbital": "#e0702e"}
MARK = {"gymnasium.make": "s", "SyncVectorEnv": "^", "AsyncVectorEnv": "v"}
PEERS = {
    "simglucose": "#444444",
    "glucosim": "#4c78a8",
    "python-anesthesia-simulator": "#444444",
    "anesthesim": "#2a9d5c",
}


def draw(envs: Mapping[str, Any], path: Path) -> None:
    """Write the figure."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 6), constrained_layout=True, sharey=True)
    for axis, (title, names) in zip(axes, PANELS.items()):
        for name in names:
            if name in envs:
                _panel(axis, name, envs[name]["lines"], name if len(names) > 1 else "doseloop")
        axis.set(xscale="log", yscale="log", title=title, xlabel="lanes")
        axis.set_xticks([1, 16, 64, 256, 1024, 4096], ["1", "16", "64", "256", "1,024", "4,096"])
        axis.minorticks_off()
        axis.grid(which="major", alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="upper left", ncols=1)
    axes[0].set_ylabel("steps of a patient per second of processor")
    axes[0].set_ylim(10, 3e8)
    figure.suptitle(
        "Steps a second by processor time (two threads: by the wall). Steps differ in length: it stands in the legend"
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


def length(minutes: float) -> str:
    """Of a step, in words."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.0f} h"


def _panel(axis: Any, name: str, lines: list[dict[str, Any]], title: str) -> None:
    found = {x["name"].partition(": ")[2]: x for x in lines if "failed" not in x}
    step = length(next(iter(found.values()))["minutes"])
    native = sorted((x["lanes"], x["steps per second"]["processor"]) for k, x in found.items()
                    if k.startswith("native") and k.endswith(("lane", "lanes")))  # fmt: skip
    axis.plot(*zip(*native), "o-", color=OWN[name], lw=2.2, label=f"{title}, native ({step})", zorder=3)
    two = sorted((x["lanes"], x["steps per second"]["wall"]) for k, x in found.items() if k.endswith("two threads"))
    axis.plot(
        *zip(*two), "o--", color=OWN[name], lw=1.2, mfc="white", label=f"{title}, two threads, by the wall", zorder=3
    )
    for key, marker in MARK.items():
        for k, x in found.items():
            if k.startswith(key):
                style = {"marker": marker, "ls": "", "color": OWN[name], "mfc": "white", "ms": 8}
                axis.plot(x["lanes"], x["steps per second"]["processor"], **style, label=f"{title}, {key}")
    for peer, colour in PEERS.items():
        points = sorted((x["lanes"], x["steps per second"]["processor"], x["minutes"]) for k, x in found.items()
                        if k.startswith(peer))  # fmt: skip
        if points:
            lanes, rates, minutes = zip(*points)
            axis.plot(lanes, rates, "D-", color=colour, lw=1.2, label=f"{peer} ({length(minutes[0])})", zorder=2)
