"""The optimal control problem of a loop that runs by the minute or the second, stated once for every back end.

Over N stages of one length, with D weighted draws d of the patient and decisions u (rates of routes, or inputs)::

    minimise    Σ_d w_d Σ_k Σ_g φ_g(y_{d,k})  +  Σ_k Σ_m  r_m ((u_km − ref_m)/s_m)² + c_m ((u_km − u_{k−1,m})/s_m)²
                φ_g(y) = q (y − target)² + a max(0, low − y)² + b max(0, y − high)²
    subject to  x_{d,k+1} = the model's state one stage after x_{d,k} under u_k and the known inputs
                y_{d,k} = outputs(x_{d,k}) + offset_d,  k = 1 … N
                low ≤ u_k ≤ high,   |u_k − u_{k−1}| ≤ the largest change     (u_0 against what is given now)
                u_k constant over each block of stages (move blocking)
                lower ≤ y_{d,k} ≤ upper                                      (path limits, every draw)
                P_d(some y_{d,k} beyond a threshold) ≤ α                     (chances, counted over the draws)

`Problem` holds what stays the same from solve to solve; `doseloop.controller.snapshot.Snapshot` what changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..pkpd.errors import SolverError
from ..pkpd.model import Model

__all__ = ["Chance", "Goal", "Move", "PathLimit", "Problem"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What an output should do: meet a target, stay inside a soft band, or both.

    Args:
        output: name of the model's output.
        target: a number, or one per stage (the output's unit).
        weight: of (y − target)², per unit².
        low, high: the soft band (the output's unit).
        low_weight, high_weight: of the squared shortfall below ``low`` and excess above ``high``, per unit².
        terminal: factor on all three weights at the last stage.
    """

    output: str
    target: float | Sequence[float] = 0.0
    weight: float = 0.0
    low: float = -math.inf
    low_weight: float = 0.0
    high: float = math.inf
    high_weight: float = 0.0
    terminal: float = 1.0


@dataclass(frozen=True, slots=True)
class Move:
    """One decision: the rate of a route, or an input of the model, held over each stage.

    Args:
        name: route or input.
        low, high: bounds (route's unit per time unit, or the input's unit).
        reference: what the move costs nothing at (basal rate).
        weight: of ((u − reference)/scale)² at every stage.
        change_weight: of ((u_k − u_{k−1})/scale)², the first against what is given now.
        largest_change: bound on |u_k − u_{k−1}| (same unit as the move), or infinity.
        scale: a typical size of the move, by which the optimiser divides; default ``high``.
    """

    name: str
    low: float = 0.0
    high: float = math.inf
    reference: float = 0.0
    weight: float = 0.0
    change_weight: float = 0.0
    largest_change: float = math.inf
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class PathLimit:
    """A hard limit on an output in every draw, from ``start`` to ``stop`` (time from now, the model's time unit)."""

    output: str
    low: float = -math.inf
    high: float = math.inf
    start: float = 0.0
    stop: float = math.inf

    @property
    def range(self) -> tuple[float, float]:
        """Between which values the output stays."""
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class Chance:
    """P(the output goes beyond a threshold at some stage from ``start`` to ``stop``) ≤ ``probability``.

    Exactly one of the two thresholds is given. The probability is counted over the weighted draws.
    """

    output: str
    probability: float
    below: float = -math.inf
    above: float = math.inf
    start: float = 0.0
    stop: float = math.inf

    @property
    def range(self) -> tuple[float, float]:
        """Outside which values the event lies."""
        return self.below, self.above


@dataclass(frozen=True, eq=False)
class Problem:
    """One optimal control problem (the module's docstring has the formula).

    Args:
        model: the prediction model.
        interval: length of a stage (the model's time unit).
        stages: number of stages N; the horizon is N · interval.
        moves: the decisions.
        goals: what the outputs should do.
        limits, chances: hard path limits and chance constraints.
        draws: number D of draws of the patient.
        blocks: lengths of the blocks of stages over which the moves are held; they sum to N. Default: N blocks of 1.
        substeps: RK4 steps per stage; default the fewest that are stable with a margin for the typical patient
            (`doseloop.controller.stage.stable_substeps`). A linear model always advances exactly.
        every: how often the plan is renewed (time unit); default ``interval``. A plan warms the next one shifted by it.

    Raises:
        SolverError: listing everything wrong with the statement.
    """

    model: Model
    interval: float
    stages: int
    moves: Sequence[Move]
    goals: Sequence[Goal]
    limits: Sequence[PathLimit] = ()
    chances: Sequence[Chance] = ()
    draws: int = 1
    blocks: Sequence[int] = ()
    substeps: int | None = None
    every: float | None = None
    watched: tuple[str, ...] = field(init=False, default=(), repr=False)

    def __post_init__(self) -> None:
        for name in ("moves", "goals", "limits", "chances", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        bad = list(_problems(self))
        if bad:
            raise SolverError([f"control problem on '{self.model.id}': {b}" for b in bad])
        if not self.blocks:
            object.__setattr__(self, "blocks", (1,) * self.stages)
        seen = [*(g.output for g in self.goals), *(p.output for p in self.limits), *(c.output for c in self.chances)]
        object.__setattr__(self, "watched", tuple(dict.fromkeys(seen)))

    @property
    def horizon(self) -> float:
        """Length of the horizon (the model's time unit)."""
        return self.stages * self.interval

    @property
    def renewed(self) -> float:
        """How often the plan is renewed (the model's time unit)."""
        return self.interval if self.every is None else self.every

    @cached_property
    def times(self) -> np.ndarray:
        """Ends of the stages from now, where outputs are predicted, (stages,)."""
        return self.interval * np.arange(1, self.stages + 1)

    @cached_property
    def block_of(self) -> np.ndarray:
        """Which block each stage belongs to, (stages,)."""
        return np.repeat(np.arange(len(self.blocks)), self.blocks)

    @cached_property
    def first_of(self) -> np.ndarray:
        """First stage of each block, then the number of stages, (blocks + 1,)."""
        return np.concatenate([[0], np.cumsum(self.blocks)])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the moves."""
        return tuple(m.name for m in self.moves)

    @cached_property
    def columns(self) -> np.ndarray:
        """Where each move stands among the model's inputs and then its routes, (moves,)."""
        known = [*self.model.names("inputs"), *self.model.names("routes")]
        return np.array([known.index(m.name) for m in self.moves])

    @cached_property
    def held(self) -> tuple[str, ...]:
        """Inputs that are known over the horizon (those that are no moves)."""
        return tuple(n for n in self.model.names("inputs") if n not in self.names)

    @property
    def items(self) -> tuple[PathLimit | Chance, ...]:
        """The path limits, then the chances."""
        return (*self.limits, *self.chances)

    def targets(self) -> np.ndarray:
        """Target of each goal at each stage, (stages, goals)."""
        return np.stack([np.broadcast_to(np.asarray(g.target, dtype=float), self.stages) for g in self.goals], axis=1)

    def window(self, item: PathLimit | Chance) -> tuple[int, int]:
        """First stage end and one past the last inside an item's span of time, as indices of ``times``."""
        inside = (self.times >= item.start - 1e-9) & (self.times <= item.stop + 1e-9)
        where = np.flatnonzero(inside)
        return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)


def _number(
    what: str, value: float, least: float = -math.inf, above: bool = False, finite: bool = True
) -> Iterator[str]:
    good = value > least if above else value >= least
    if math.isnan(value) or not good or (finite and math.isinf(value)):
        need = f" {'above' if above else 'of at least'} {least:g}" if math.isfinite(least) else ""
        yield f"{what} is {value}; a {'finite ' if finite else ''}number{need} is meant"


def _problems(p: Problem) -> Iterator[str]:
    model = p.model
    outputs, inputs, routes = model.names("outputs"), model.names("inputs"), model.names("routes")
    yield from _number("interval", p.interval, 0, above=True)
    if p.stages < 1:
        yield f"stages is {p.stages}; at least 1 is meant"
    if p.draws < 1:
        yield f"draws is {p.draws}; at least 1 is meant"
    if p.blocks and (min(p.blocks) < 1 or sum(p.blocks) != p.stages):
        yield f"blocks {p.blocks} sum to {sum(p.blocks)}; lengths of at least 1 that sum to {p.stages} are meant"
    if p.substeps is not None and p.substeps < 1:
        yield f"substeps is {p.substeps}; at least 1 is meant"
    if p.every is not None:
        yield from _number("every", p.every, 0, above=True)
    if not p.moves:
        yield "it has no moves"
    if not p.goals:
        yield "it has no goals"
    names = [m.name for m in p.moves]
    for n in sorted({n for n in names if names.count(n) > 1}):
        yield f"move '{n}' is named twice"
    for m in p.moves:
        if m.name not in (*inputs, *routes):
            yield f"move '{m.name}' is neither a route nor an input; known: {', '.join((*routes, *inputs))}"
        elif m.name in routes and "infusion" not in model.route(m.name).kinds:
            yield f"move '{m.name}': the route takes no infusion"
        yield from _number(f"move '{m.name}': low", m.low)
        yield from _number(f"move '{m.name}': high", m.high)
        if m.high < m.low:
            yield f"move '{m.name}': high {m.high:g} is below low {m.low:g}"
        yield from _number(f"move '{m.name}': reference", m.reference)
        for what in ("weight", "change_weight"):
            yield from _number(f"move '{m.name}': {what}", getattr(m, what), 0)
        yield from _number(f"move '{m.name}': largest_change", m.largest_change, 0, above=True, finite=False)
        scale = m.high if m.scale is None else m.scale
        yield from _number(f"move '{m.name}': scale", scale, 0, above=True)
    for g in p.goals:
        if g.output not in outputs:
            yield f"goal: '{g.output}' is no output; known: {', '.join(outputs)}"
        target = np.asarray(g.target, dtype=float)
        if target.shape not in ((), (p.stages,)) or not np.isfinite(target).all():
            yield f"goal on '{g.output}': target has shape {target.shape}; a finite number or one per stage is meant"
        for what in ("weight", "low_weight", "high_weight", "terminal"):
            yield from _number(f"goal on '{g.output}': {what}", getattr(g, what), 0)
        if math.isnan(g.low) or math.isnan(g.high) or g.high < g.low:
            yield f"goal on '{g.output}': the band runs from {g.low} to {g.high}"
        for side, least in (("low", g.low), ("high", g.high)):
            if getattr(g, f"{side}_weight") > 0 and math.isinf(least):
                yield f"goal on '{g.output}': {side}_weight without {side}"
    for kind, items in (("limit", p.limits), ("chance", p.chances)):
        for item in items:
            if item.output not in outputs:
                yield f"{kind}: '{item.output}' is no output; known: {', '.join(outputs)}"
            inside = [k for k in range(1, p.stages + 1) if item.start - 1e-9 <= k * p.interval <= item.stop + 1e-9]
            if not inside:
                yield f"{kind} on '{item.output}': no stage ends between {item.start:g} and {item.stop:g}"
    for limit in p.limits:
        if math.isnan(limit.low) or math.isnan(limit.high) or limit.high <= limit.low:
            yield f"limit on '{limit.output}': it runs from {limit.low} to {limit.high}"
        elif math.isinf(limit.low) and math.isinf(limit.high):
            yield f"limit on '{limit.output}': it names neither low nor high"
    for c in p.chances:
        if not 0 <= c.probability < 1:
            yield f"chance on '{c.output}': probability is {c.probability}; from 0 to below 1 is meant"
        if math.isnan(c.below) or math.isnan(c.above) or math.isinf(c.below) == math.isinf(c.above):
            yield f"chance on '{c.output}': exactly one of below and above is meant, not {c.below} and {c.above}"
