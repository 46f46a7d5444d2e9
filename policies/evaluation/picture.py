"""The picture of an evaluation: for each arm the returns with intervals, and performance profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .saved import Saved
from .statistics import profile
from .summary import summary

__all__ = ["plot"]

PAPER, GRID = "#fbfaf7", "#e6e3dc"
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#7d5ba6", "#b7791f", "#2a9d8f", "#9aa5b1", "#6b4f3a", "#d16ba5", "#404040")


def plot(saved: Saved, path: Path) -> Path:
    """Draw and write a PNG."""
    from matplotlib.figure import Figure

    arms = saved.arms
    most = max(len(saved.of(a)) for a in arms)
    figure = Figure(figsize=(11.5, len(arms) * (1.5 + 0.3 * most) + 0.4), layout="constrained", facecolor=PAPER)
    axes = figure.subplots(len(arms), 2, squeeze=False, width_ratios=[3, 2])
    policies = list(dict.fromkeys(p for p, _ in saved.rows))
    colour = {p: COLOURS[k % len(COLOURS)] for k, p in enumerate(policies)}
    for row, name in zip(axes, arms):
        _returns(row[0], saved, name, colour)
        _profiles(row[1], saved, name, colour)
    axes[-1, 0].set_xlabel(
        "return of an episode (0 is best): mean ●, IQM |, worst 5 % ×, with 95 % intervals", fontsize=8.5
    )
    axes[-1, 1].set_xlabel("loss of an episode (minus its return)", fontsize=8.5)
    figure.suptitle(f"{saved.env}: {saved.patients} held-out virtual patients", fontsize=11, x=0.01, ha="left")
    figure.savefig(path, dpi=110)
    return path


def _scale(values: np.ndarray) -> float:
    """Where a symmetric logarithm begins: a tenth of the smallest loss that matters."""
    losses = np.abs(values[np.abs(values) > 0])
    return float(np.quantile(losses, 0.02)) if len(losses) else 1.0


def _tidied(ax: Any) -> None:
    ax.set_facecolor(PAPER)
    ax.grid(axis="x", color=GRID, lw=0.7)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
    ax.tick_params(length=0, labelsize=8)


def _returns(ax: Any, saved: Saved, name: str, colour: dict[str, str]) -> None:
    rows = saved.of(name)
    every = np.concatenate([r.returns for r in rows.values()])
    for y, (p, r) in enumerate(reversed(rows.items())):
        s = summary(r)
        for e, marker, size in ((s.tail, "x", 5), (s.middle, "|", 9), (s.returns, "o", 5.5)):
            ax.plot([e.low, e.high], [y, y], color=colour[p], lw=4, alpha=0.3, solid_capstyle="round")
            ax.plot(e.value, y, marker, color=colour[p], ms=size)
        ax.annotate(
            f"{s.returns.value:.3g}",
            (s.returns.value, y),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    ax.set_yticks(range(len(rows)), list(reversed(rows)), fontsize=8.5)
    ax.set_ylim(-0.6, len(rows) - 0.2)
    ax.set_xscale("symlog", linthresh=max(_scale(every), 1e-4))
    ax.set_xlim(1.15 * min(float(every.min()), -1e-4), 0.0)
    ax.set_title(name, loc="left", fontsize=9.5, fontweight="bold")
    _tidied(ax)


def _profiles(ax: Any, saved: Saved, name: str, colour: dict[str, str]) -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    rows = saved.of(name)
    losses = {p: -r.returns for p, r in rows.items()}
    every = np.concatenate(list(losses.values()))
    low = max(_scale(every), 1e-4)
    at = np.geomspace(low, max(float(every.max()), 1.1 * low), 80)
    for p, loss in list(losses.items())[: len(COLOURS)]:  # more could not be told apart
        # share of episodes that lost no more than this, which is a return of at least minus that
        share, least, best = profile(-loss, -at)
        ax.plot(at, share, color=colour[p], lw=1.4, label=p)
        ax.fill_between(at, least, best, color=colour[p], alpha=0.15, lw=0)
    ax.set_xscale("log")
    if at[-1] < 30.0 * at[0]:  # so few decades that their tenths are labelled too, and overlap
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(-0.02, 1.02)
    ax.set_title("share of episodes that lost at most …", loc="left", fontsize=8.5)
    ax.legend(fontsize=7, frameon=False, loc="lower right")
    _tidied(ax)
