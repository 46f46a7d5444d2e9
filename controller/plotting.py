"""The picture of a recommendation: levels, fit and forecast, goal and limits, doses given and recommended."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pkpd.plotting import GREY, INK, Given, bands, dose_panel, new_figure, save, time_axis
from ..pkpd.regimen import Regimen
from ..pkpd.simulate import weighted_quantiles
from ..twin.forecast import Forecast, forecast

if TYPE_CHECKING:
    from ..therapies.therapy import Harm
    from .recommend import Recommendation

__all__ = ["plot_recommendation"]

FIVE = (0.05, 0.25, 0.5, 0.75, 0.95)
GREEN, RED = "#2e7d4f", "#a4262c"
POINTS = 500


def _span(r: Recommendation) -> tuple[float, float]:
    """From the first fact to the end of what was planned."""
    facts = [r.record.now, *(e.time for e in r.record.given.events), *(m.time for m in r.record.observed)]
    ends = [r.record.now + r.therapy.horizon]
    if r.regimen is not None:
        ends.append(r.regimen.last + (r.candidates[0].interval if r.candidates else 24.0))
    return min(facts), max(ends)


def _course(r: Recommendation, low: float, high: float) -> Forecast | None:
    """Fit and forecast on a grid that shows each dose's edge: the same draws that the answer rests on."""
    if r.posterior is None:
        return None
    doses = [d for g in (r.record.given, r.regimen or Regimen()) for d in g.expanded().doses]
    edges = [t for d in doses for t in (d.time, d.time + 1e-6, d.time + (d.length or 0.0)) if low <= t <= high]
    times = np.unique(np.concatenate([np.linspace(low, high, POINTS), edges, [r.record.now]]))
    steady = [d.time for d in r.record.given.doses if d.steady_state]
    if steady:  # before a steady state nothing is known, not nothing given
        times = times[times > steady[0]]
    return forecast(r.posterior, r.regimen, times=times, output=r.therapy.output, draws=r.options.plan_draws)


def _auc24(f: Forecast) -> np.ndarray:
    """Area over the 24 h before each time, draw by draw, (draws, T)."""
    back = np.clip(f.times - 24.0, f.times[0], None)
    return np.stack([total - np.interp(back, f.times, total) for total in f.integrals])


def _side_labels(ax: Any, labels: Sequence[tuple[float, str, str]], legend: bool, fontsize: float = 8.0) -> None:
    """Labels right of the axes at these heights, set apart where they would lie on each other or on the legend."""
    low, high = ax.get_ylim()
    line = fontsize * 1.35 / 72 * ax.figure.dpi / ax.bbox.height  # of one line, in axes' height
    placed: list[tuple[float, float]] = []
    entries = len(ax.get_legend_handles_labels()[0]) if legend else 0
    if entries:
        ax.legend(loc="lower left", bbox_to_anchor=(1.005, -0.02), fontsize=fontsize, frameon=False, handlelength=1.3,
                  borderaxespad=0.2)  # fmt: skip
        placed.append((0.6 * line * entries, 1.3 * line * entries))
    for y, text, color in sorted(labels):
        size = line * (text.count("\n") + 1)
        at = (y - low) / (high - low)
        if placed:
            at = max(at, placed[-1][0] + 0.5 * (placed[-1][1] + size))
        placed.append((at, size))
        ax.text(1.008, at, text, transform=ax.transAxes, ha="left", va="center", fontsize=fontsize, color=color)


def _pretty(unit: str) -> str:
    return unit.replace("*", "·")


def _goal(ax: Any, low: float, high: float) -> None:
    """The target band: a tone, dotted in grey print, with edges."""
    ax.axhspan(low, high, facecolor="#eef7ef", edgecolor="#b5d6ba", hatch="...", linewidth=0, zorder=0.5)
    for y in (low, high):
        ax.axhline(y, color=GREEN, linewidth=1.0, linestyle=(0, (6, 3)), zorder=3.4)


def _harms(ax: Any, harms: Sequence[Harm]) -> None:
    for harm in harms:
        ax.axhline(harm.above, color=RED, linewidth=1.3, linestyle="-." if harm is not harms[0] else "-", zorder=3.5)


def _labels(r: Recommendation, quantities: Sequence[str]) -> tuple[list[tuple[float, str, str]], list[Harm]]:
    """What stands beside a panel of these quantities: goal and harms, with their chances."""
    goal, listed = r.therapy.goal, []
    if goal.quantity in quantities:
        name = {"auc24": "AUC24"}.get(goal.quantity, goal.quantity)
        text = f"target {name}\n{goal.low:g}–{goal.high:g} {_pretty(goal.unit)}"
        listed.append((0.5 * (goal.low + goal.high), text, GREEN))
    harms = [h for h in r.therapy.harms if h.quantity in quantities]
    most = {h.name: h.probability_max.value for h in r.therapy.limits.predicted}
    for h in harms:
        allowed = f"at most {100 * most[h.name]:.0f} % likely" if h.name in most else ""
        listed.append((h.above, _pretty(f"harm: {h.name}\n{allowed}"), RED))
    return listed, harms


def _observed(ax: Any, r: Recommendation) -> float:
    """The levels; returns the highest."""
    levels = [m for m in r.record.observed if m.output == r.therapy.output]
    for censored, style, label in (
        (False, {"marker": "o", "markerfacecolor": INK, "markeredgecolor": "white", "markersize": 7.5}, "measured"),
        (
            True,
            {"marker": "v", "markerfacecolor": "white", "markeredgecolor": INK, "markersize": 8},
            "below the limit\nof quantification",
        ),
    ):
        points = [(m.time, m.value) for m in levels if m.censored == censored]
        if points:
            ax.plot(*zip(*points), linestyle="none", label=label, zorder=6, clip_on=False, **style)
    return max((m.value for m in levels), default=0.0)


def _now(axes: Sequence[Any], r: Recommendation, low: float, high: float) -> None:
    now = r.record.now
    for ax in axes:
        ax.axvline(now, color=INK, linewidth=1.2, linestyle=(0, (2, 2)), zorder=5)
    place = (now - low) / (high - low)
    side = "left" if place < 0.15 else ("right" if place > 0.85 else "center")
    unit = r.therapy.models[0].time_unit
    past, ahead = "fit ◂ " * (side != "left"), " ▸ forecast" * (side != "right")
    if r.posterior is None:
        past = ahead = ""
    axes[0].annotate(
        f"{past}now, {now:g} {unit}{ahead}", (now, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha=side, va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _title(figure: Any, r: Recommendation) -> None:
    record = r.record
    doses = len(record.given.expanded().doses)
    facts = f"{len(record.observed)} level{'s' * (len(record.observed) != 1)}, {doses} dose{'s' * (doses != 1)}"
    above = textwrap.shorten(f"{r.therapy.title}. Patient {record.id}: {facts}.", 110)
    text = textwrap.fill(textwrap.shorten(r.sentence, 300, placeholder=" …"), 96)
    figure.suptitle(text, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    note = f"{above} Decision support: a clinician confirms every dose."
    room = 0.22 / figure.get_figheight()
    figure.text(0.012, 0.3 * room, note, fontsize=8, color=GREY)
    figure.get_layout_engine().set(rect=(0, room, 0.992, 1 - room))


def plot_recommendation(recommendation: Recommendation, path: str | Path) -> Path:
    """Draw a recommendation and write it; returns the path.

    The level's panel shows measured levels, fit and forecast (median, 50 % and 90 % band of the true level), the goal
    and the harms; goals of exposure have a panel of AUC24 below it; the last panel shows doses given and recommended.

    Args:
        recommendation: any ending; without a posterior only facts and limits are drawn.
        path: file to write; the suffix says the format.

    Raises:
        OSError: the file cannot be written.
    """
    r = recommendation
    therapy, model = r.therapy, r.therapy.models[0]
    exposure = "auc24" in {therapy.goal.quantity, *(h.quantity for h in therapy.harms)}
    figure = new_figure(9.6, 6.9 if exposure else 5.8)
    panels = figure.subplots(
        3 if exposure else 2, 1, sharex=True, height_ratios=[3.2, 1.7, 1.1] if exposure else [3.6, 1.0]
    )
    low, high = _span(r)
    left = low - 0.018 * (high - low)
    course = _course(r, low, high)
    _title(figure, r)

    ax = panels[0]
    top = _observed(ax, r)
    if course is not None:
        q = course.quantiles(FIVE)
        bands(ax, course.times, q)
        top = max(top, float(q[4].max()))
    labels, harms = _labels(r, ("trough", "peak"))
    if therapy.goal.quantity in ("trough", "peak"):
        _goal(ax, therapy.goal.low, therapy.goal.high)
        top = max(top, therapy.goal.high)
    _harms(ax, harms)
    top = max([top, *(h.above for h in harms)])
    unit = model.output(therapy.output).unit
    ax.set(ylabel=f"{therapy.output} ({unit})", ylim=(0, 1.1 * top))
    all_labels = [(ax, labels)]

    if exposure:
        ax = panels[1]
        labels, harms = _labels(r, ("auc24",))
        top = 1.0
        if course is not None:
            q = weighted_quantiles(_auc24(course), course.weights, FIVE)
            if any(d.steady_state for d in r.record.given.doses):  # the first 24 h after it are not whole
                q[:, course.times < course.times[0] + 24.0] = np.nan
            bands(ax, course.times, q, labels=False)
            top = float(np.nanmax(q[4]))
        if therapy.goal.quantity == "auc24":
            _goal(ax, therapy.goal.low, therapy.goal.high)
            top = max(top, therapy.goal.high)
        _harms(ax, harms)
        top = max([top, *(h.above for h in harms)])
        ax.set(ylabel=f"AUC of the last\n24 h ({_pretty(therapy.goal.unit)})", ylim=(0, 1.12 * top))
        all_labels.append((ax, labels))

    for ax in panels[:-1]:
        ax.grid(color="0.9", linewidth=0.6, zorder=0)
        ax.tick_params(labelbottom=False)
    for ax in panels:
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    _now(panels, r, left, high)
    time_axis(panels[-1], left, high, model.time_unit)
    figure.align_ylabels(panels)
    for ax, labels in all_labels:
        _side_labels(ax, labels, legend=ax is panels[0])
    groups = [Given(r.record.given, "given"), Given(r.regimen or Regimen(), "recommended", planned=True)]
    dose_panel(panels[-1], groups, therapy.action.unit, left, high)
    return save(figure, path)
