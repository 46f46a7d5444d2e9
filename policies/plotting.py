"""The picture of a closed loop: where the patient was, what was read, given and announced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..safety import Kind
from .closed_loop import Run

if TYPE_CHECKING:
    from .scenes import Scene

__all__ = ["plot_loop"]

COLOURS = ("#1b6ca8", "#c8553d", "#588157")
BAND, READING, MEAL = "#e6f2e6", "#8d99ae", "#b08968"
FLOOR = 65.0  # mmHg: the pressure that is wanted at least


def plot_loop(scene: Scene, runs: Mapping[str, Run], path: str | Path) -> Any:
    """Draw runs of the same patients, one under another, and write a PNG.

    One patient: the truth, its readings, what was given and announced. Several: the median, 25-75 % and 5-95 % bands.
    Returns the matplotlib figure.
    """
    from matplotlib.figure import Figure

    t = scene.therapy
    # of each run: the controlled quantity, the pressure where there is one, each drug
    drugs = list(dict.fromkeys(a.route for a in t.actuators))
    pressed = any(r.true_pressure is not None for r in runs.values())
    each = 1 + pressed + len(drugs)
    figure = Figure(figsize=(10, (3.4 + 1.1 * (each - 2)) * len(runs) + 0.6), layout="constrained")
    heights = [3, *([1.5] if pressed else []), *([1] * len(drugs))]
    axes = figure.subplots(each * len(runs), 1, sharex=True, height_ratios=heights * len(runs), squeeze=False)[:, 0]
    top = 0.0
    for r in runs.values():
        top = max(top, float(np.nanmax(r.truth)), float(np.nanmax(r.reading, initial=0.0)) if len(r) == 1 else 0.0)
    for k, (name, r) in enumerate(runs.items()):
        colour, mine = COLOURS[k % len(COLOURS)], axes[each * k : each * (k + 1)]
        _truth(mine[0], scene, r, colour, 1.06 * top)
        if pressed:
            _pressure(mine[1], r, colour)
        for ax, route in zip(mine[1 + pressed :], drugs):
            _given(ax, scene, r, colour, route)
        mine[0].set_title(name, loc="left", fontsize=11, fontweight="bold", color=colour)
    hours = next(iter(runs.values())).interval * 60 > 60
    axes[-1].set_xlabel("hours" if hours else "minutes")
    whom = _whom(next(iter(runs.values())))
    apart = "\n" if len(t.title) + len(whom) > 90 else " "  # a longer line is cut off
    figure.suptitle(f"{t.title}:{apart}{whom}", fontsize=12)
    figure.savefig(path, dpi=120)
    return figure


def _whom(r: Run) -> str:
    model = r.people.model.id
    return f"virtual patient {r.people.ids[0]} ({model})" if len(r) == 1 else f"{len(r)} virtual patients ({model})"


def _scale(r: Run) -> float:
    return 60.0 if r.interval >= 1.0 else 1.0


def _truth(ax: Any, scene: Scene, r: Run, colour: str, top: float) -> None:
    t, scale = scene.therapy, _scale(r)
    time = r.tick * np.arange(1, r.truth.shape[1] + 1) / scale
    ax.axhspan(t.band.low, t.band.high, color=BAND, lw=0, zorder=0)
    ax.axhline(t.band.target, color="#9cc29c", lw=0.8, zorder=1)
    if len(r) == 1:
        ax.plot(r.times / scale, r.reading[:, 0], ".", ms=3, color=READING, label="reading", zorder=2)
        ax.plot(time, r.truth[0], color=colour, lw=1.6, label="truth", zorder=3)
    else:
        _bands(ax, time, r.truth, colour)
    if len(r) == 1:
        for k in np.flatnonzero(r.announced[:, 0] > 0):
            ax.annotate(
                f"{r.announced[k, 0]:.0f} g", (r.times[k] / scale, 0.0), xytext=(0, 4), textcoords="offset points",
                ha="center", fontsize=8, color=MEAL,
            )  # fmt: skip
            ax.axvline(r.times[k] / scale, color=MEAL, lw=0.6, ls=":", zorder=1)
    ax.set_ylim(0, max(top, 1.1 * t.band.high))
    ax.set_xlim(0, time[-1])
    unit = f", {t.unit}" if t.unit != "1" else ""
    ax.set_ylabel(f"{t.measurement}{unit}")
    ax.legend(loc="upper right", fontsize=8, frameon=False, ncols=3)


def _bands(ax: Any, time: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Median and bands of many patients."""
    q = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    ax.fill_between(time, q[0], q[4], color=colour, alpha=0.15, lw=0, label="5-95 % of patients")
    ax.fill_between(time, q[1], q[3], color=colour, alpha=0.3, lw=0, label="25-75 %")
    ax.plot(time, q[2], color=colour, lw=1.6, label="median")


def _pressure(ax: Any, r: Run, colour: str) -> None:
    assert r.pressure is not None
    assert r.true_pressure is not None
    scale = _scale(r)
    time = r.tick * np.arange(1, r.true_pressure.shape[1] + 1) / scale
    ax.axhline(FLOOR, color="#b5651d", lw=0.8, ls="--", zorder=1)
    if len(r) == 1:
        ax.plot(r.times / scale, r.pressure[:, 0], ".", ms=3, color=READING, zorder=2)
        ax.plot(time, r.true_pressure[0], color=colour, lw=1.4, zorder=3)
    else:
        _bands(ax, time, r.true_pressure, colour)
    ax.set_ylabel("mmHg")
    ax.text(0.99, 0.9, "mean arterial pressure", transform=ax.transAxes, ha="right", va="top", fontsize=8)


def _given(ax: Any, scene: Scene, r: Run, colour: str, route: str) -> None:
    scale = _scale(r)
    t = r.times / scale
    for j, a in enumerate(scene.therapy.actuators):
        if a.route != route:
            continue
        amount = r.delivered[:, :, j]
        mean = amount[:, 0] if len(r) == 1 else amount.mean(axis=1)
        if a.kind is Kind.RATE:
            ax.step(t, mean, where="post", color=colour, lw=1.0)
            ax.fill_between(t, mean, step="post", color=colour, alpha=0.25, lw=0)
            alone = len(scene.therapy.actuators) == 1
            ax.set_ylabel(a.unit if alone or a.name == route else f"{a.name}, {a.unit}")
            if not alone and a.name == route:  # one panel a drug, too low for a long label
                ax.text(0.99, 0.9, a.name, transform=ax.transAxes, ha="right", va="top", fontsize=8)
        elif len(r) == 1 and (mean > 0).any():
            twin = ax.twinx()
            given = mean > 0
            twin.vlines(t[given], 0, mean[given], color="#333333", lw=2)
            twin.set_ylim(0, 1.25 * mean.max())
            twin.set_ylabel(f"{a.name}, {a.unit}")
    ax.set_ylim(bottom=0)
