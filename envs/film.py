"""What a picture of an episode shows: the course of each lane since its episode began, kept while a render mode is set.

The truth is drawn beside what the bedside saw: pictures are for whoever judges a policy, never for the policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pkpd.errors import DoseloopError

if TYPE_CHECKING:
    from .picture import Canvas
    from .vector import DosingVectorEnv

__all__ = ["CHARTS", "RENDER_MODES", "Chart", "Course", "Film", "ansi"]

RENDER_MODES = ["rgb_array", "ansi"]
BLOCKS = "▁▂▃▄▅▆▇█"
COLUMNS = 64  # of the line of blocks


@dataclass(frozen=True, slots=True)
class Given:
    """One drug of a picture: ``rate`` is held for the interval, else it is a dose at its start.

    A pump gives a low rate in pulses: ``over`` decisions are drawn as their mean.
    """

    name: str
    unit: str
    rate: bool
    over: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """How an environment's episodes are drawn.

    Attributes:
        title: of the picture. quantity, unit: what is followed.
        band: where it should be; ``low``, ``high`` the axis; ``ticks`` on it.
        reading: what a measurement is called. time: unit of the axis of time, ``per`` of it in one of the world's.
        given: the columns of what was delivered. announced: unit of what is announced ("": nothing is).
        exposure: the band is one of the AUC of the last 24 h (mg·h/L), not of what is followed.
    """

    title: str
    quantity: str
    unit: str
    band: tuple[float, float]
    low: float
    high: float
    ticks: tuple[float, ...]
    reading: str
    time: str
    per: float
    given: tuple[Given, ...]
    announced: str = ""
    exposure: bool = False


CHARTS = {
    "doseloop/Glucose-v0": Chart(
        "Glucose in type 1 diabetes", "glucose", "mg/dL", (70.0, 180.0), 30.0, 360.0, (40, 70, 120, 180, 250, 350),
        "sensor", "h", 1 / 60, (Given("basal", "U/h", True, 6), Given("bolus", "U", False)), "g",
    ),
    "doseloop/Propofol-v0": Chart(
        "Depth of anaesthesia under propofol", "BIS", "", (40.0, 60.0), 0.0, 100.0, (0, 20, 40, 60, 80, 100),
        "monitor", "min", 1.0, (Given("propofol", "mg/min", True),),
    ),
    "doseloop/Vancomycin-v0": Chart(
        "Vancomycin by levels", "level", "mg/L", (400.0, 600.0), 0.0, 60.0, (0, 10, 20, 40, 60),
        "laboratory", "d", 1 / 24, (Given("dose", "mg", False),), exposure=True,
    ),
    "doseloop/Phenobarbital-v0": Chart(
        "Phenobarbital in a newborn", "level", "mg/L", (15.0, 40.0), 0.0, 70.0, (0, 15, 25, 40, 60),
        "laboratory", "d", 1 / 24, (Given("dose", "mg", False),),
    ),
}  # fmt: skip


@dataclass(slots=True)
class Course:
    """One lane's episode until now, in the chart's units of time.

    Attributes:
        time, truth: of each tick. at, reading: measurements. start, length: of each decision; ``given`` (decisions,
            columns). meals: (m, 2) when, how much was announced.
        total, cost: rewards and costs until now. ended: whether the run is over for good.
        area: (decisions,) AUC of the 24 h that end with each decision's interval, where there is one, else NaN; on the
            first day that until then, scaled to a day, as the reward has it.
    """

    time: np.ndarray
    truth: np.ndarray
    at: np.ndarray
    reading: np.ndarray
    start: np.ndarray
    length: float
    given: np.ndarray
    meals: np.ndarray
    total: float
    cost: float
    ended: bool
    area: np.ndarray

    def now(self) -> float:
        """The last moment."""
        return float(self.time[-1])

    def outside(self, chart: Chart) -> np.ndarray:
        """(ticks,) whether what the band is of was outside it."""
        values = self.truth
        if chart.exposure and len(self.area):
            values = np.repeat(self.area, (len(self.truth) - 1) // len(self.area))
            values = np.concatenate([values[:1], values])
        elif chart.exposure:
            return np.zeros(len(self.truth), dtype=bool)
        return (values < chart.band[0]) | (values > chart.band[1])

    def inside(self, chart: Chart) -> float:
        """Per cent of time in the band; NaN before the first decision is over."""
        rest = self.outside(chart)[1:]
        return float(100.0 * np.mean(~rest)) if len(rest) else np.nan

    def days(self) -> list[tuple[float, float]]:
        """When each whole day ended, and its AUC; the chart's time is in days."""
        ends = self.start + self.length
        whole = np.abs(ends - np.round(ends)) < 1e-9
        return list(zip(ends[whole].tolist(), self.area[whole].tolist()))


@dataclass(slots=True)
class _Step:
    clock: np.ndarray
    truth: np.ndarray
    at: np.ndarray
    reading: np.ndarray
    given: np.ndarray
    announced: np.ndarray
    reward: np.ndarray
    cost: np.ndarray
    area: np.ndarray
    ended: np.ndarray


@dataclass(slots=True)
class Film:
    """Keeps the courses of an environment's lanes, and draws them.

    Args:
        env: whose.

    Raises:
        DoseloopError: there is no chart for such environments.
    """

    env: DosingVectorEnv
    chart: Chart = field(init=False)
    steps: list[_Step] = field(default_factory=list)
    first: np.ndarray = field(init=False)
    canvas: Canvas | None = None

    def __post_init__(self) -> None:
        if self.env.name not in CHARTS:
            raise DoseloopError(f"{self.env.name}: there is no picture of it; there are {', '.join(CHARTS)}")
        self.chart = CHARTS[self.env.name]
        self.first = np.zeros(self.env.num_envs, dtype=np.int64)

    def begin(self, lanes: np.ndarray) -> None:
        """Episodes begin in the lanes of a mask."""
        none = np.zeros(self.env.num_envs)
        env: Any = self.env
        start = env.world.outputs[env.world.truth_name][:, None]
        if lanes.all():
            self.steps.clear()
            self.first[:] = 0
        else:
            self.first[lanes] = len(self.steps)
        self.steps.append(self._step(start, none, none))

    def take(self, reward: np.ndarray, cost: np.ndarray) -> None:
        """A decision has passed."""
        env: Any = self.env
        self.steps.append(self._step(env.world.truth, reward, cost))

    def _step(self, truth: np.ndarray, reward: np.ndarray, cost: np.ndarray) -> _Step:
        env: Any = self.env
        seen, n = env.seen, env.num_envs
        ward = hasattr(seen, "levels")
        at, reading = (seen.level_times, seen.levels) if ward else (seen.reading_time[:, None], seen.reading[:, None])
        announced = np.zeros(n) if ward else np.nan_to_num(seen.announced)
        area = env.world.exposure.sum(axis=1) if ward else np.full(n, np.nan)
        return _Step(
            seen.clock.copy(), truth, at.copy(), reading.copy(), np.nan_to_num(seen.delivered), announced, reward, cost,
            area, seen.ended.copy(),
        )  # fmt: skip

    def course(self, lane: int) -> Course:
        """A lane's episode until now."""
        steps = self.steps[self.first[lane] :]
        env: Any = self.env
        per, world = self.chart.per, env.world
        moves = steps[1:]
        clock = np.array([s.clock[lane] for s in moves])
        ticks = np.arange(1, world.ticks + 1) * world.tick - world.interval
        time = np.concatenate([[0.0], (clock[:, None] + ticks).ravel()])
        truth = np.concatenate([steps[0].truth[lane], *(s.truth[lane] for s in moves)])
        # a result is told again for days, and a sample of before the episode is none of it
        found = {t: v for s in steps for t, v in zip(s.at[lane], s.reading[lane]) if t >= 0 and np.isfinite(v)}
        at = np.array(sorted(found))
        columns = len(self.chart.given)
        given = np.array([s.given[lane] for s in moves]).reshape(len(moves), columns)
        meals = np.array([(s.clock[lane] * per, s.announced[lane]) for s in steps if s.announced[lane] > 0])
        return Course(
            time * per,
            truth,
            at * per,
            np.array([found[t] for t in at]),
            (clock - world.interval) * per,
            world.interval * per,
            given,
            meals.reshape(-1, 2),
            float(sum(s.reward[lane] for s in moves)),
            float(sum(s.cost[lane] for s in moves)),
            bool(steps[-1].ended[lane]),
            self._areas(moves, lane),
        )

    def _areas(self, moves: list[_Step], lane: int) -> np.ndarray:
        """AUC24 at the end of each decision's interval; see `Course.area`."""
        env: Any = self.env
        area, per_day = np.array([s.area[lane] for s in moves]), 24.0 / env.world.interval  # NaN but in wards
        return area * np.maximum(1.0, per_day / np.arange(1, len(area) + 1))

    def draw(self, mode: str) -> tuple[Any, ...]:
        """A picture (height, width, 3) or a text of each lane.

        Raises:
            DoseloopError: before the first reset.
        """
        if not self.steps:
            raise DoseloopError(f"{self.env.name}: render: reset first")
        courses = [self.course(k) for k in range(self.env.num_envs)]
        if mode == "ansi":
            return tuple(ansi(self.chart, c) for c in courses)
        if self.canvas is None:
            from .picture import Canvas  # which loads matplotlib

            world: Any = getattr(self.env, "world")  # noqa: B009 - the base has none
            self.canvas = Canvas(self.chart, self.env.horizon * world.interval * self.chart.per)
        canvas = self.canvas
        return tuple(canvas.draw(c) for c in courses)


def ansi(chart: Chart, c: Course) -> str:
    """An episode in some lines of text."""
    unit = f" {chart.unit}" if chart.unit else ""
    low, high = chart.band
    read = f"{chart.reading} {c.reading[-1]:.3g} at {c.at[-1]:.2f} {chart.time}" if len(c.at) else f"no {chart.reading}"
    lines = [
        f"{chart.title}, {c.now():.2f} {chart.time}{', over' if c.ended else ''}",
        f"  {chart.quantity:<9} {c.truth[-1]:.3g}{unit} ({read})",
        f"  {'band':<9} {f'AUC24 {low:g}-{high:g} mg·h/L' if chart.exposure else f'{low:g}-{high:g}{unit}'}"
        + (f", {c.inside(chart):.0f} % of the time" if len(c.truth) > 1 else ""),
        f"  {'course':<9} {_blocks(chart, c)}",
    ]
    for j, g in enumerate(chart.given):
        last = f"{c.given[-1, j]:.3g} {g.unit}" if len(c.given) else "none yet"
        rest = "" if g.rate or not len(c.given) else f", {c.given[:, j].sum():.4g} {g.unit} in all"
        lines.append(f"  {g.name:<9} {last}{rest}")
    if chart.announced:
        meals = ", ".join(f"{amount:.0f} {chart.announced} at {t:.1f}" for t, amount in c.meals)
        lines.append(f"  {'announced':<9} {meals or 'nothing'}")
    if chart.exposure:
        lines.append(f"  {'AUC24':<9} " + (", ".join(f"{v:.0f} on day {t:.0f}" for t, v in c.days()) or "no day yet"))
    lines.append(f"  {'return':<9} {c.total:.2f}, cost {c.cost:.2f}")
    return "\n".join(lines)


def _blocks(chart: Chart, c: Course) -> str:
    """The course as a line of blocks: two below the band, three in it, three above."""
    edges: tuple[float, ...]
    levels: tuple[float, ...]
    parts = np.array_split(c.truth, min(COLUMNS, len(c.truth)))
    edges, levels = (chart.low, *chart.band, chart.high), (0.0, 2.0, 5.0, 7.99)
    if chart.exposure:  # the band is of another quantity
        edges, levels = (chart.low, chart.high), (0.0, 7.99)
    return "".join(BLOCKS[int(np.interp(p.mean(), edges, levels))] for p in parts)
