"""Figures: a trajectory's output over time, dose panels, and the parts that other figures share.

Matplotlib's object interface only (no pyplot, no global state), readable in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .regimen import Regimen
    from .simulate import Trajectory

__all__ = ["Given", "bands", "dose_panel", "new_figure", "save", "time_axis", "time_label", "trajectory_plot"]

BLUE, INK, GREY = "#1f5a8c", "#1a1a1a", "#6b6b6b"
LIGHT, DARK = "#bfd5e8", "#7ea9ce"  # 90 % and 50 % bands: 82 % and 63 % grey
LINES = 12  # more people than this are drawn as bands


def new_figure(width: float, height: float) -> Any:
    """A figure with a canvas of its own, laid out without overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
    return figure


def save(figure: Any, path: str | Path, dpi: int = 130) -> Path:
    """Write the figure (PNG, or what the suffix says) without a time stamp: equal figures are equal files."""
    target = Path(path)
    metadata = {"Software": None} if target.suffix.lower() == ".png" else None
    figure.savefig(target, dpi=dpi, metadata=metadata)
    return target


def bands(ax: Any, times: np.ndarray, quantiles: np.ndarray, labels: bool = True) -> None:
    """90 % and 50 % band and median of rows 5, 25, 50, 75 and 95 %."""
    name = (lambda text: text) if labels else (lambda text: None)
    ax.fill_between(times, quantiles[0], quantiles[4], facecolor=LIGHT, linewidth=0, label=name("90 % band"), zorder=2)
    ax.fill_between(times, quantiles[1], quantiles[3], facecolor=DARK, linewidth=0, label=name("50 % band"), zorder=3)
    ax.plot(times, quantiles[2], color=BLUE, linewidth=1.7, label=name("median"), zorder=4)


_STEPS = {"h": (1, 2, 3, 6, 12, 24, 48, 72, 96, 120, 168, 336, 672), "min": (1, 2, 5, 10, 15, 30, 60, 120, 240)}
_DAY = {"h": 24.0, "min": 1440.0}


def time_axis(ax: Any, low: float, high: float, unit: str) -> None:
    """Limits, ticks on round hours, and the label; from three days on each tick also says the day."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    span = high - low
    step = next((s for s in _STEPS.get(unit, ()) if span / s <= 11), None)
    day = _DAY.get(unit)
    if step is None:
        ax.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
    else:
        ax.xaxis.set_major_locator(FixedLocator(list(np.arange(math.ceil(low / step), high / step + 1e-9) * step)))
    if day and span > 3 * day and step:
        words = lambda t, _: f"{t:g}\n{t / day:.3g} d"  # noqa: E731
        ax.xaxis.set_major_formatter(FuncFormatter(words))
    ax.set_xlabel(time_label(low, high, unit))
    ax.set_xlim(low, high)


def time_label(low: float, high: float, unit: str) -> str:
    """What the axis of `time_axis` is called."""
    return f"time ({unit}, and days)" if unit in _DAY and high - low > 3 * _DAY[unit] else f"time ({unit})"


@dataclass(frozen=True)
class Given:
    """Doses to be drawn alike: the regimen, what they are called, and whether they are still to be given."""

    regimen: Regimen
    label: str
    planned: bool = False


def _runs(regimen: Regimen) -> list[tuple[list[float], float, str]]:
    """Neighbouring doses of one amount: their times, the amount, and a remark."""
    runs: list[tuple[list[float], float, str]] = []
    for d in regimen.expanded().doses:
        remark = ", steady state" if d.steady_state else ""
        if runs and not remark and runs[-1][1] == d.amount:
            runs[-1][0].append(d.time)
        else:
            runs.append(([d.time], d.amount, remark))
    return runs


def dose_panel(ax: Any, groups: Sequence[Given], unit: str, low: float, high: float) -> None:
    """Doses as bars with their amounts: filled where given, open and hatched where planned.

    Call it last: amounts are set apart from each other by their drawn size.
    """
    from matplotlib.patches import Patch

    least = 0.006 * (high - low)
    notes, handles, bars = [], [], []
    for group in groups:
        style: dict[str, Any] = (
            {"facecolor": "white", "edgecolor": BLUE, "hatch": "//////"}
            if group.planned
            else {"facecolor": "#555555", "edgecolor": "#333333"}
        )
        doses = group.regimen.expanded().doses
        if doses:
            ax.bar(
                [d.time for d in doses], [d.amount for d in doses], [max(least, d.length or 0.0) for d in doses],
                align="edge", linewidth=0.8, zorder=3, **style,
            )  # fmt: skip
            bars += [
                (d.time + 0.5 * max(least, d.length or 0.0), 0.0, max(least, d.length or 0.0), d.amount) for d in doses
            ]
            handles.append(Patch(label=group.label, **style))
        for times, amount, remark in _runs(group.regimen):
            many = f" × {len(times)}" if len(times) > 1 else ""
            shown = [t for t in times if low <= t <= high] or times
            notes.append((0.5 * (shown[0] + shown[-1]) + least / 2, amount, f"{amount:.4g}{many}{remark}"))
    top = max([d.amount for g in groups for d in g.regimen.expanded().doses], default=1.0)
    ax.set_ylabel(f"dose ({unit})")
    ax.set_ylim(0, 1.55 * top)
    ax.set_xlim(low, high)
    if len(groups) > 1 and handles:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.05), fontsize=8, frameon=False,
                  handlelength=1.3, borderaxespad=0.2)  # fmt: skip
    if not handles:
        ax.text(0.5, 0.5, "no doses", transform=ax.transAxes, ha="center", va="center", color=GREY, fontsize=8.5)
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    _spread_notes(ax, notes, bars, low, high)


Box = tuple[float, float, float, float]  # middle, foot, width, height


def _spread_notes(ax: Any, notes: list[tuple[float, float, str]], bars: list[Box], low: float, high: float) -> None:
    """Amounts above their bars, raised where they would lie on something; a crowd is thinned, not piled up."""
    figure = ax.figure
    figure.draw_without_rendering()
    renderer, to_data = figure.canvas.get_renderer(), ax.transData.inverted()
    room = ax.get_ylim()[1]
    taken = list(bars)
    for x, y, text in sorted(notes, key=lambda n: -n[1]):
        label = ax.text(x, y, text, ha="center", va="bottom", fontsize=8, color=INK, zorder=5, clip_on=True)
        box = label.get_window_extent(renderer).transformed(to_data)
        width, height = box.width, box.height
        x = min(max(x, low + 0.6 * width), high - 0.6 * width)
        placed = y
        while any(
            abs(x - a) < (width + w) / 2 * 1.04 and placed < b + h and b < placed + height for a, b, w, h in taken
        ):
            placed += 0.25 * height
        if placed + height > room:
            label.remove()
            continue
        label.set_position((x, placed))
        taken.append((x, placed, width, height))


def trajectory_plot(trajectory: Trajectory, output: str | None = None, ax: Any = None) -> Any:
    """Draw one output of a trajectory.

    Args:
        trajectory: from `simulate`.
        output: which; default the model's first.
        ax: axes to draw on; default those of a new figure (``ax.figure`` is it).

    Returns:
        The axes. A few people are drawn as lines, many as median with 50 % and 90 % band.
    """
    model = trajectory.model
    drawn = model.output(output) if output else model.outputs[0]
    if ax is None:
        ax = new_figure(8.0, 4.2).add_subplot()
    times, values = trajectory.times, trajectory[drawn.name]
    if len(trajectory) > LINES:
        bands(ax, times, trajectory.quantiles(drawn.name, (0.05, 0.25, 0.5, 0.75, 0.95)))
        ax.legend(fontsize=8, frameon=False, ncols=3, loc="upper right")
        top = float(trajectory.quantiles(drawn.name, (0.95,)).max())
    else:
        styles = ("-", "--", ":", "-.")
        for i, line in enumerate(values):
            one = len(values) == 1
            ax.plot(times, line, color=BLUE if one else INK, linewidth=1.6, linestyle=styles[i % 4],
                    label=None if one else f"person {i}", alpha=1 if one else 0.5 + 0.5 / (1 + i // 4))  # fmt: skip
        if len(values) > 1:
            ax.legend(fontsize=8, frameon=False, ncols=4, loc="upper right")
        top = float(values.max())
    ax.set_ylabel(f"{drawn.name} ({drawn.unit})")
    ax.set_ylim(min(0.0, float(values.min())), 1.2 * top if top > 0 else 1.0)
    time_axis(ax, float(times[0]), float(times[-1]) if times[-1] > times[0] else float(times[0]) + 1, model.time_unit)
    ax.grid(color="0.92", linewidth=0.7, zorder=0)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
