"""The picture of a cohort: time in the consensus ranges, and how persons spread around the targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .plan import Plan
from .summary import TARGETS

__all__ = ["plot"]

PAPER, GRID, INK = "#fbfaf7", "#e6e3dc", "#404040"
# the consensus's five ranges, from below, in its colours
RANGES = (
    ("below 54", "#7a1f1f"),
    ("54–69", "#d1495b"),
    ("70–180", "#5aa469"),
    ("181–250", "#f2c14e"),
    ("above 250", "#e08e2b"),
)
COLOURS = {"all": INK, "adult": "#1b6ca8", "adolescent": "#c8553d", "child": "#7d5ba6"}


def plot(plan: Plan, found: Mapping[str, Any], path: Path) -> Path:
    """Draw a summary (`policies.cohort.summary`) and write a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), layout="constrained", facecolor=PAPER)
    bars, spread, low = figure.subplots(1, 3, width_ratios=[1.1, 1.25, 1.25])
    _ranges(bars, found)
    _in_range(spread, found)
    _below(low, found)
    for ax in (bars, spread, low):
        ax.set_facecolor(PAPER)
        ax.spines[["top", "right"]].set_visible(False)
    guard = "guard" if plan.guard else "no guard"
    figure.suptitle(
        f"{found['patients']:,} virtual patients, {plan.days:g} d, {plan.policy}, {guard} "
        f"({plan.model}, meals {plan.surroundings})",
        fontsize=11,
    )
    figure.savefig(path, dpi=130, facecolor=PAPER)
    return path


def _ranges(ax: Any, found: Mapping[str, Any]) -> None:
    """Mean time in the five ranges, one bar a group."""
    groups = list(found["scores"])
    for x, g in enumerate(groups):
        mean = {k: v["mean"] for k, v in found["scores"][g].items()}
        parts = (mean["tbr54"], mean["tbr"] - mean["tbr54"], mean["tir"], mean["tar"] - mean["tar250"], mean["tar250"])
        bottom = 0.0
        for (label, colour), height in zip(RANGES, parts):
            ax.bar(x, height, 0.62, bottom=bottom, color=colour, label=label if x == 0 else None, lw=0)
            if height >= 3.0:
                ax.text(x, bottom + height / 2, f"{height:.0f}", ha="center", va="center", fontsize=9, color="white")
            bottom += height
    ax.set_xticks(range(len(groups)), groups, fontsize=9)
    ax.set_ylim(0, 100)
    ax.set_ylabel("mean % of time")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], fontsize=8, frameon=False, title="mg/dL", title_fontsize=8,
        loc="center left", bbox_to_anchor=(1.0, 0.5),
    )  # fmt: skip
    ax.set_title("time in ranges", fontsize=10, loc="left")


def _in_range(ax: Any, found: Mapping[str, Any]) -> None:
    """How many persons have how much time in range."""
    edges = np.array(found["edges"]["tir"])
    for g, counts in found["histograms"].items():
        share = 100.0 * np.array(counts["tir"]) / found["persons"][g]
        ax.stairs(share, edges, color=COLOURS[g], lw=2.0 if g == "all" else 1.2, label=_reach(found, g, "tir"))
    _target(ax, "tir")
    ax.set_xlim(0, 100)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("time in 70–180 mg/dL, %")
    ax.set_ylabel(f"% of persons in {edges[1] - edges[0]:g} % of time")
    ax.legend(fontsize=8, frameon=False, loc="upper left", title="reach the target", title_fontsize=8)
    ax.set_title("time in range of a person", fontsize=10, loc="left")


def _below(ax: Any, found: Mapping[str, Any]) -> None:
    """Share of persons with at most so much time below 70, and below 54."""
    top = max(8.0, *(s["tbr"]["p95"] for s in found["scores"].values()))
    for g, counts in found["histograms"].items():
        for name, style in (("tbr", "-"), ("tbr54", ":")):
            edges = np.array(found["edges"][name])
            share = 100.0 * np.cumsum(counts[name]) / found["persons"][g]
            label = _reach(found, g, "tbr") if name == "tbr" else None
            width = 2.0 if g == "all" else 1.2
            ax.plot(edges[1:], share, style, drawstyle="steps-post", color=COLOURS[g], lw=width, label=label)
    _target(ax, "tbr")
    _target(ax, "tbr54")
    ax.set_xlim(0, top)
    ax.set_ylim(0, 100)
    ax.set_xlabel("time below 70 mg/dL (dotted: below 54), %")
    ax.set_ylabel("% of persons with less")
    ax.grid(axis="y", color=GRID, lw=0.8)
    ax.legend(fontsize=8, frameon=False, loc="lower right", title="reach the target (< 70)", title_fontsize=8)
    ax.set_title("time below range of a person", fontsize=10, loc="left")


def _reach(found: Mapping[str, Any], group: str, score: str) -> str:
    return f"{group}: {found['targets'][group][score]:.1f} %"


def _target(ax: Any, score: str) -> None:
    """A line where the target is."""
    sign, limit = TARGETS[score]
    ax.axvline(limit, color=INK, lw=0.9, ls="--", zorder=0)
    words = f"{'' if score == 'tir' else '< 70: ' if score == 'tbr' else '< 54: '}{sign} {limit:g} %"
    ax.text(
        limit, 0.02, f" {words}", fontsize=8, color=INK, transform=ax.get_xaxis_transform(), rotation=90, va="bottom",
        ha="right",
    )  # fmt: skip
