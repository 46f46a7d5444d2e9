"""Pictures of episodes: one matplotlib figure that is kept, of which only what moved is drawn again."""

from __future__ import annotations

from typing import Any

import numpy as np

from .film import Chart, Course

__all__ = ["Canvas"]

PAPER, INK, FAINT = "#fbfaf7", "#22303c", "#7b8794"
BAND, EDGE = "#dcefdc", "#8fbf93"
TRUTH, OUT, READ = "#1b6ca8", "#c8442e", "#55606b"
RATE, DOSE, MEAL = "#6aa6a0", "#2f4858", "#b7791f"
SIZE, DPI = (8.4, 5.2), 100  # 840 × 520: even, as films want it


class Canvas:
    """Draws courses of one kind.

    Args:
        chart: how. length: of an episode, in the chart's unit of time.
    """

    def __init__(self, chart: Chart, length: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.chart = chart
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor=PAPER)
        self.agg = FigureCanvasAgg(figure)
        self.top = figure.add_axes((0.085, 0.375, 0.835, 0.48))
        self.below = figure.add_axes((0.085, 0.095, 0.835, 0.225), sharex=self.top)
        doses = [g for g in chart.given if not g.rate]
        rates = [g for g in chart.given if g.rate]
        self.right = self.below.twinx() if doses and rates else None
        self.stems = self.right if self.right is not None else (self.below if doses else None)
        self.moving: list[Any] = []
        self._frame(figure, length, rates, doses)
        self._movers(figure)
        self.limits: tuple[float, float] | None = None
        self.behind: Any = None

    def _frame(self, figure: Any, length: float, rates: list[Any], doses: list[Any]) -> None:
        """What stands still."""
        c, top, below = self.chart, self.top, self.below
        if not c.exposure:
            top.axhspan(*c.band, color=BAND, lw=0, zorder=0)
            for edge in c.band:
                top.axhline(edge, color=EDGE, lw=0.8, zorder=1)
        top.set_ylim(c.low, c.high)
        top.set_yticks(c.ticks)
        top.set_xlim(0.0, length)
        # by amounts that people count in: hours of a day, minutes, days
        step = next(s for s in (0.25, 0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 480, 1440) if length / s <= 9)
        top.set_xticks(np.arange(0.0, length + 1e-9, step))
        top.tick_params(labelbottom=False)
        for ax in (top, below):
            ax.set_facecolor(PAPER)
            ax.grid(axis="x", color="#e6e3dc", lw=0.7, zorder=0)
            ax.set_axisbelow(True)
        for ax in filter(None, (top, below, self.right)):
            ax.tick_params(colors=FAINT, labelsize=9, length=0)
            for side, spine in ax.spines.items():
                spine.set_visible(side == "bottom")
                spine.set_color("#c9c4b8")
        left = rates or doses
        named: list[Any] = [(below, left[0], RATE if rates else DOSE), (self.right, (doses or left)[0], DOSE)]
        for ax, g, colour in named:
            if ax is not None:
                ax.set_ylabel(f"{g.name}, {g.unit}", color=colour, fontsize=9)
        below.set_xlabel({"h": "hours", "min": "minutes", "d": "days"}[c.time], color=FAINT, fontsize=9)
        unit = f", {c.unit}" if c.unit else ""
        top.set_ylabel(f"{c.quantity}{unit}", color=INK, fontsize=9)
        figure.text(0.085, 0.945, c.title, fontsize=12.5, fontweight="bold", color=INK, va="center")
        # the legend, in colours of what is meant
        x = 0.085
        out = "━ AUC24 outside the band" if c.exposure else "━ outside the band"
        for text, colour in ((f"● {c.reading}", READ), ("━ truth", TRUTH), (out, OUT)):
            figure.text(x, 0.887, text, fontsize=8.5, color=colour, va="center")
            x += 0.022 + 0.0098 * len(text)

    def _movers(self, figure: Any) -> None:
        """What moves."""
        c, top, below = self.chart, self.top, self.below
        many = c.time != "d"
        self.read = top.plot([], [], "o", ms=2.6 if many else 6.5, color=READ, mew=0, alpha=0.75 if many else 1.0)[0]
        self.line = top.plot([], [], color=TRUTH, lw=1.9, solid_capstyle="round")[0]
        self.out = top.plot([], [], color=OUT, lw=2.3, solid_capstyle="round")[0]
        self.dot = top.plot([], [], "o", ms=7, color=TRUTH, mec=PAPER, mew=1.4)[0]
        self.steps = below.stairs([0.0], [0.0, 1e-9], fill=True, color=RATE, alpha=0.45, lw=0)
        self.edge = below.stairs([0.0], [0.0, 1e-9], color=RATE, lw=1.3, baseline=None)
        self.value = figure.text(0.92, 0.945, "", fontsize=15, fontweight="bold", color=INK, ha="right", va="center")
        self.words = figure.text(0.92, 0.887, "", fontsize=8.5, color=FAINT, ha="right", va="center")
        self.moving = [self.read, self.line, self.out, self.dot, self.steps, self.edge, self.value, self.words]
        self.places = [top, top, top, top, below, below, figure, figure]
        if self.stems is not None:
            self.sticks = self.stems.vlines([], 0, 1, color=DOSE, lw=2.0)
            self.heads = self.stems.plot([], [], "o", ms=4.6, color=DOSE, mew=0, clip_on=False)[0]
            self.moving += [self.sticks, self.heads]
            self.places += [self.stems, self.stems]
        for artist in self.moving:
            artist.set_animated(True)
        self.meals: list[Any] = []
        self.days: list[Any] = []

    def draw(self, course: Course) -> np.ndarray:
        """The picture of a course, (height, width, 3) bytes."""
        limits = self._limits(course)
        if limits != self.limits or self.behind is None:
            self.limits = limits
            self.below.set_ylim(0.0, limits[0])
            if self.right is not None:
                self.right.set_ylim(0.0, limits[1])
            self.agg.draw()
            self.behind = self.agg.copy_from_bbox(self.agg.figure.bbox)
        self.agg.restore_region(self.behind)
        self._move(course)
        for artist in (*self.moving, *self._meals(course), *self._days(course)):
            self.agg.figure.draw_artist(artist)
        return np.asarray(self.agg.buffer_rgba())[..., :3].copy()

    def _limits(self, course: Course) -> tuple[float, float]:
        """Heights of the lower axes: round numbers, so that they seldom change."""
        tops = [0.0, 0.0]
        for j, g in enumerate(self.chart.given):
            most = float(_mean(course.given[:, j], g.over).max(initial=0.0))
            tops[0 if g.rate or self.right is None else 1] = _ceiling(1.15 * most)
        return tops[0], tops[1]

    def _move(self, c: Course) -> None:
        chart = self.chart
        shown = np.clip(c.truth, chart.low, chart.high)
        outside = c.outside(chart)
        near = outside | np.roll(outside, 1)
        near[0] = outside[0]
        self.read.set_data(c.at, np.clip(c.reading, chart.low, chart.high))
        self.line.set_data(c.time, shown)
        self.out.set_data(c.time, np.where(near, shown, np.nan))
        self.dot.set_data([c.now()], [shown[-1]])
        self.dot.set_color(OUT if outside[-1] else TRUTH)
        if len(c.start):
            edges = np.append(c.start, c.start[-1] + c.length)
            for j, g in enumerate(chart.given):
                amount = c.given[:, j]
                if g.rate:
                    amount = _mean(amount, g.over)
                    self.steps.set_data(amount, edges, 0.0)
                    self.edge.set_data(amount, edges)
                else:
                    x, y = c.start[amount > 0], amount[amount > 0]
                    self.sticks.set_segments([((a, 0.0), (a, b)) for a, b in zip(x, y)])
                    self.heads.set_data(x, y)
        else:
            self.steps.set_data([0.0], [0.0, 1e-9], 0.0)
            self.edge.set_data([0.0], [0.0, 1e-9])
            if self.stems is not None:
                self.sticks.set_segments([])
                self.heads.set_data([], [])
        unit = f" {chart.unit}" if chart.unit else ""
        self.value.set_text(f"{c.truth[-1]:.0f}{unit}" if c.truth[-1] >= 30 else f"{c.truth[-1]:.1f}{unit}")
        self.value.set_color(OUT if outside[-1] else INK)
        self.words.set_text(_words(chart, c))

    def _meals(self, c: Course) -> list[Any]:
        """Marks at the head of the upper axis, one for each meal; those of before are used again."""
        top = self.top
        head = self.chart.high - 0.03 * (self.chart.high - self.chart.low)
        while len(self.meals) < len(c.meals):
            mark = top.annotate(
                "", (0, head), ha="center", va="top", fontsize=8, color=MEAL, xytext=(0, -6),
                textcoords="offset points", animated=True,
            )  # fmt: skip
            point = top.plot([], [], "v", ms=6, color=MEAL, mew=0, animated=True)[0]
            self.meals.append((mark, point))
        used = self.meals[: len(c.meals)]
        for (mark, point), (t, amount) in zip(used, c.meals):
            mark.set_text(f"{amount:.0f} {self.chart.announced}")
            mark.xy = (t, head)
            point.set_data([t], [head])
        return [artist for pair in used for artist in pair]

    def _days(self, c: Course) -> list[Any]:
        """The AUC24 of each whole day at the head of the upper axis, over a bar as long as the day."""
        if not self.chart.exposure:
            return []
        low, high = self.chart.band
        head, found = self.chart.high - 0.02 * (self.chart.high - self.chart.low), c.days()
        while len(self.days) < len(found):
            mark = self.top.annotate(
                "", (0, head), ha="center", va="top", fontsize=9, xytext=(0, -4), textcoords="offset points",
                animated=True,
            )  # fmt: skip
            bar = self.top.plot([], [], lw=3.0, solid_capstyle="butt", animated=True)[0]
            self.days.append((mark, bar))
        used = self.days[: len(found)]
        for (mark, bar), (end, area) in zip(used, found):
            inside = low <= area <= high
            mark.set_text(f"AUC24 {area:.0f}")
            mark.set_color("#3f7d44" if inside else OUT)
            mark.xy = (end - 0.5, head)
            bar.set_data([end - 0.97, end - 0.03], [head, head])
            bar.set_color(EDGE if inside else OUT)
        return [artist for pair in used for artist in pair]


def _mean(amount: np.ndarray, over: int) -> np.ndarray:
    """The mean of each decision and those before it, ``over`` in all."""
    if over == 1 or not len(amount):
        return amount
    total = np.concatenate([np.zeros(over), np.cumsum(amount)])
    mean: np.ndarray = (total[over:] - total[:-over]) / np.minimum(np.arange(1, len(amount) + 1), over)
    return mean


def _words(chart: Chart, c: Course) -> str:
    parts = [f"{c.now():.1f} {chart.time}"]
    if np.isfinite(inside := c.inside(chart)):
        now = f"AUC24 {c.area[-1]:.0f}, " if chart.exposure else ""
        parts.append(f"{now}{inside:.0f} % in {chart.band[0]:g}-{chart.band[1]:g}")
    parts.append(f"return {c.total:.2f}")
    parts += ["over"] if c.ended else []
    return "   ".join(parts)


def _ceiling(most: float) -> float:
    """The least of 1, 2, 4, 6, 10, 20, … that is not below."""
    scale = 10.0 ** np.floor(np.log10(max(most, 1e-3)))
    return float(next(k * scale for k in (1, 2, 4, 6, 10) if k * scale >= most - 1e-12)) if most > 0 else 1.0
