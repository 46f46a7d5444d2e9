"""The world of a person with type 1 diabetes: insulin by a pump, a glucose sensor, meals, life."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..pkpd.calls import get, geti, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import core as c
from .faults import DEPTH, RING, UNANNOUNCED, WIDTH, Fault, drifted, fault_rows, keep_first, occluded, report, under
from .life import LIFE_ROWS, SETTINGS, Life, life_admit, needs
from .meal import PAUSE, SIMGLUCOSE, eat, stomach_rows
from .meals import EATEN, LAST, LIST, NEXT, PLANNED, START, Meals, bite, meal_numbers, meals_admit, word
from .people import People
from .pumps import (
    GIVEN,
    PUMP_ROWS,
    SAID_BASAL,
    SAID_BOLUS,
    InsulinPump,
    insulin_admit,
    insulin_command,
    insulin_minute,
    settings,
)
from .sensors import CGM, CGM_ROWS, cgm_admit, cgm_numbers, cgm_sample
from .world import World, lanes_of

__all__ = ["GlucoseWorld"]

PUMP_SETTINGS = 9

(
    SENSOR,  # floats, one set for all
    WORN,  # the sensor's state
    EVERY,  # minutes between samples
    MEMORY,  # readings kept for faults
    PUMP,
    PUMPING,
    SCENARIO,  # floats
    PLACES,
    MEALS_GIVEN,
    EATING,
    LIVES,
    LIVES_NUMBERS,
    LIVING,
    CHANGES,
    PERSON,  # (people, 2): weight, basal rate that runs at admission
    MIDNIGHT,  # (patients,) minutes from the midnight before to admission
    CARBS_ROW,  # rows among the model's inputs
    MEAL_ROW,  # -1: the model does not read it
    SENSITIVITY_ROW,
    DAWN_ROW,
    RATE_ROW,
    STOMACH,  # rows of states that hold the stomach's content
    STOMACH_COUNT,
    PAUSES,  # float: minutes without food that end a meal
    SHOWN,  # the newest reading, its time stamp: (2, patients)
    EATS,  # (ticks, patients) carbohydrate eaten, g
    INFUSED,  # (ticks, patients) insulin that entered, U
) = range(c.OWN, c.OWN + 27)

_SLOTS = {
    name: value
    for name, value in globals().items()
    if name.isupper() and isinstance(value, int) and c.OWN <= value < c.OWN + 27 and globals().get(name) is value
}
LOWEST, HIGHEST = 10.0, 600.0  # mg/dL: a run ends outside (the usual benchmark's limits)


@jit
def _sample(job, b, lane, minute):
    """Read the sensor at ``minute`` and keep what arrives as the newest reading."""
    width = geti(job, c.BLOCKS) * LANES
    i, key, count = b * LANES + lane, geti(job, c.KEY), geti(job, c.FAULTS)
    faults = c.block(job, c.FAULT, count * WIDTH, b)
    value = cgm_sample(
        geti(job, SENSOR),
        c.block(job, WORN, CGM_ROWS, b),
        lane,
        geti(key, i),
        geti(key, width + i),
        minute,
        minute + get(geti(job, MIDNIGHT), i),
        get(c.block(job, c.Y, geti(job, c.ROWS_Y), b), geti(job, c.SENSED) * LANES + lane),
        drifted(faults, count, lane, minute),
    )
    memory = c.block(job, MEMORY, RING + DEPTH, b)
    value, stamp = report(faults, count, lane, memory, value, minute, np.float64(geti(job, EVERY)))
    put(geti(job, SHOWN), i, value)
    put(geti(job, SHOWN), width + i, stamp)


@jit
def _tell(job, b, lane, minute):
    """Write what is seen at ``minute``; a reading is told once."""
    places, width, i = geti(job, PLACES), geti(job, c.BLOCKS) * LANES, b * LANES + lane
    eating = c.block(job, EATING, LIST + 4 * places, b)
    heard = word(eating, lane, places, minute + get(geti(job, MIDNIGHT), i))
    if heard > 0:
        count = geti(job, c.FAULTS)
        hit, _, _ = under(c.block(job, c.FAULT, count * WIDTH, b), count, lane, UNANNOUNCED, minute)
        heard = 0.0 if hit else heard
    shown = geti(job, SHOWN)
    ended = get(geti(job, c.ENDED), i)
    c.say(geti(job, c.OUT), width, i, get(shown, i), get(shown, width + i), 100.0, heard, math.nan, ended, minute)
    put(shown, i, math.nan)
    put(shown, width + i, math.nan)


@jit
def _meal(job, b, lane, now, carbs):
    """A minute with food: the model's ``meal`` input."""
    x, eating, grams = (
        c.block(job, c.X, geti(job, c.ROWS_X), b),
        c.block(job, EATING, LIST + 4 * geti(job, PLACES), b),
        0.0,
    )
    for k in range(geti(job, STOMACH_COUNT)):
        grams += get(x, geti(geti(job, STOMACH), k) * LANES + lane) / 1000.0
    start, eaten, _ = eat(
        get(eating, START * LANES + lane),
        get(eating, EATEN * LANES + lane),
        now - get(eating, LAST * LANES + lane),
        carbs,
        grams,
        1.0,
        get(geti(job, PAUSES), 0),
    )
    put(eating, START * LANES + lane, start)
    put(eating, EATEN * LANES + lane, eaten)
    put(eating, LAST * LANES + lane, now + 1.0)
    put(c.block(job, c.U, geti(job, c.ROWS_U), b), geti(job, MEAL_ROW) * LANES + lane, start + eaten)


@jit
def glucose_step(job, first, last):
    """Move blocks by one control interval."""
    ticks, every, width = geti(job, c.TICKS), geti(job, EVERY), geti(job, c.BLOCKS) * LANES
    clock, ends, key, midnight = geti(job, c.CLOCK), geti(job, c.ENDED), geti(job, c.KEY), geti(job, MIDNIGHT)
    truth, eats, infused, out = geti(job, c.TRUTH), geti(job, EATS), geti(job, INFUSED), geti(job, c.OUT)
    carbs_row, meal_row, rate_row = geti(job, CARBS_ROW), geti(job, MEAL_ROW), geti(job, RATE_ROW)
    factor_row, dawn_row, changes = geti(job, SENSITIVITY_ROW), geti(job, DAWN_ROW), geti(job, CHANGES)
    scenario, places, true_row, count = geti(job, SCENARIO), geti(job, PLACES), geti(job, c.TRUE), geti(job, c.FAULTS)
    person, who, life = geti(job, PERSON), geti(job, c.WHO), geti(job, LIVES_NUMBERS)
    for b in range(first, last):
        pump, pumping = c.block(job, PUMP, PUMP_SETTINGS, b), c.block(job, PUMPING, PUMP_ROWS, b)
        u, y = c.block(job, c.U, geti(job, c.ROWS_U), b), c.block(job, c.Y, geti(job, c.ROWS_Y), b)
        eating, faults = c.block(job, EATING, LIST + 4 * places, b), c.block(job, c.FAULT, count * WIDTH, b)
        lives, living = c.block(job, LIVES, SETTINGS, b), c.block(job, LIVING, LIFE_ROWS, b)
        action = geti(job, c.ACTION) + 16 * LANES * b
        for lane in range(LANES):
            insulin_command(pump, pumping, lane, get(action, 2 * lane), get(action, 2 * lane + 1))
        for j in range(ticks):
            for lane in range(LANES):
                i = b * LANES + lane
                minute = get(clock, i)
                now, carbs = minute + get(midnight, i), 0.0
                if now >= get(eating, NEXT * LANES + lane) or get(eating, PLANNED * LANES + lane) > 0:
                    weight = get(person, 2 * geti(who, i))
                    carbs = bite(scenario, eating, lane, places, now, weight, geti(key, i), geti(key, width + i))
                    if carbs > 0 and meal_row >= 0:
                        _meal(job, b, lane, now, carbs)
                put(u, carbs_row * LANES + lane, carbs)
                put(eats, j * width + i, carbs)
                blocked = count > 0 and occluded(faults, count, lane, 0.0, minute)
                units = insulin_minute(pump, pumping, lane, np.int64(minute), blocked)
                put(u, rate_row * LANES + lane, units)
                put(infused, j * width + i, units)
                if changes > 0 and np.int64(minute) % 5 == 0:
                    factor, dawn = needs(lives, life, living, lane, now, geti(key, i), geti(key, width + i))
                    put(u, factor_row * LANES + lane, factor)
                    put(u, dawn_row * LANES + lane, dawn)
            c.advance(job, b)
            for lane in range(LANES):
                i = b * LANES + lane
                minute, ended = get(clock, i) + 1.0, get(ends, i)
                put(clock, i, minute)
                true = get(y, true_row * LANES + lane)
                if ended > 0 or not (LOWEST <= true <= HIGHEST):
                    if ended == 0:
                        ended = np.float64(c.LOW if true < LOWEST else c.HIGH if true > HIGHEST else c.NOT_FINITE)
                        put(ends, i, ended)
                    true = LOWEST - 1 if ended == c.LOW else HIGHEST + 1
                put(truth, j * width + i, true)
                if np.int64(minute) % every == 0:
                    _sample(job, b, lane, minute)
        for lane in range(LANES):
            i = b * LANES + lane
            _tell(job, b, lane, get(clock, i))
            put(out, c.O_DELIVERED * width + i, get(pumping, SAID_BASAL * LANES + lane) * 60.0 / ticks)
            put(out, (c.O_DELIVERED + 1) * width + i, get(pumping, SAID_BOLUS * LANES + lane))


@jit
def glucose_reset(job, first, last):
    """Admit the patients of the mask: steady on their basal rate, sensor and pump fresh, today's meals to come."""
    width, places, factor_row = geti(job, c.BLOCKS) * LANES, geti(job, PLACES), geti(job, SENSITIVITY_ROW)
    for b in range(first, last):
        fresh = False
        for lane in range(LANES):
            if geti(geti(job, c.MASK), b * LANES + lane):
                c.admit(job, b, lane)
                fresh = True
        if not fresh:
            continue
        c.propagate(job, b)
        c.outputs_of(job, b)
        eating, given = c.block(job, EATING, LIST + 4 * places, b), c.block(job, MEALS_GIVEN, 4 * places, b)
        u = c.block(job, c.U, geti(job, c.ROWS_U), b)
        for lane in range(LANES):
            i = b * LANES + lane
            if geti(geti(job, c.MASK), i) == 0:
                continue
            seed, patient = geti(geti(job, c.KEY), i), geti(geti(job, c.KEY), width + i)
            now, person = get(geti(job, MIDNIGHT), i), geti(job, PERSON) + 16 * geti(geti(job, c.WHO), i)
            meals_admit(geti(job, SCENARIO), given, eating, lane, places, now, get(person, 0), seed, patient)
            insulin_admit(c.block(job, PUMPING, PUMP_ROWS, b), lane, get(person, 1))
            lives, living = c.block(job, LIVES, SETTINGS, b), c.block(job, LIVING, LIFE_ROWS, b)
            life_admit(lives, geti(job, LIVES_NUMBERS), living, lane, now, seed, patient)
            put(u, factor_row * LANES + lane, 1.0)
            cgm_admit(geti(job, SENSOR), c.block(job, WORN, CGM_ROWS, b), lane, seed, patient)
            keep_first(c.block(job, MEMORY, RING + DEPTH, b), lane, math.nan)
            _sample(job, b, lane, 0.0)
            _tell(job, b, lane, 0.0)
            for d in range(2):
                put(geti(job, c.OUT), (c.O_DELIVERED + d) * width + i, 0.0)


class GlucoseWorld(World):
    """n people with type 1 diabetes; an action is a basal rate (U/h, held) and a bolus (U, begun at once).

    Args:
        people: patients of a glucose model: outputs ``glucose`` and ``sensor``, route ``sc``; ``known`` holds
            ``weight`` (kg) and ``basal`` (U/h, which runs at admission).
        interval: control interval, min (whole). The tick is a minute.
        sensor, pump, meals, life: what surrounds them.
        faults: see `virtual.faults`.
        start: minutes from midnight to admission, one for all or (n,).
        scored: output that is the truth of scores and endings ("glucose"; the usual benchmark scores "sensor").
        meal_pause: min without food that end a meal (`virtual.meal`); default `PAUSE`, with the scenario "simglucose"
            its own rule.
        n: patients under way (default all of ``people``). keep: keep the truth (`World.trace`). threads: that share
            out the blocks.

    Raises:
        DoseloopError: listing what does not fit.
    """

    actions = ("basal U/h", "bolus U")
    _step = staticmethod(glucose_step)
    _reset = staticmethod(glucose_reset)

    def __init__(
        self,
        people: People,
        *,
        interval: float = 5.0,
        sensor: CGM | str = "dexcom_g6",
        pump: InsulinPump | str = "omnipod",
        meals: Meals | str = "by weight",
        life: Life | str = "even",
        faults: Sequence[Fault] = (),
        start: Any = 0.0,
        scored: str = "glucose",
        meal_pause: float | None = None,
        n: int | None = None,
        keep: bool = False,
        threads: int = 1,
    ) -> None:
        model, known = people.model, people.known
        worn = CGM.named(sensor) if isinstance(sensor, str) else sensor
        device = InsulinPump.named(pump) if isinstance(pump, str) else pump
        scenario = Meals.named(meals) if isinstance(meals, str) else meals
        lives = Life.named(life) if isinstance(life, str) else life
        if meal_pause is None:
            meal_pause = SIMGLUCOSE if isinstance(meals, str) and meals.startswith("simglucose") else PAUSE
        bad = [f"people: known['{k}'] is missing" for k in ("weight", "basal") if k not in known]
        bad += [] if "sc" in model.names("routes") else [f"model '{model.id}' has no route 'sc'"]
        needed = ("carbs", "sensitivity", "dawn")
        bad += [f"model '{model.id}' has no input '{k}'" for k in needed if k not in model.names("inputs")]
        if bad:
            raise DoseloopError([f"glucose world: {b}" for b in bad])
        super().__init__(
            people,
            n=n,
            interval=interval,
            tick=1.0,
            truth=scored,
            sensed="sensor",
            keep=keep,
            threads=threads,
            slots=_SLOTS,
        )
        n, B, width = self.n, self.blocks, self.blocks * LANES
        most, table = fault_rows(faults, n)
        stomach = stomach_rows(model)
        self._fixed |= {
            "SENSOR": cgm_numbers(worn),
            "PUMP": settings(device, n, "insulin pump"),
            "SCENARIO": meal_numbers(scenario),
            "MEALS_GIVEN": scenario.given_rows(n),
            "LIVES": lives.settings(n),
            "LIVES_NUMBERS": np.array([60 * lives.hours[0], 60 * lives.hours[1], *lives.minutes, lives.lasting]),
            "PERSON": np.column_stack(
                [np.asarray(known["weight"], dtype=float), np.asarray(known["basal"], dtype=float)]
            ),
            "MIDNIGHT": lanes_of(start, n, "start"),
            "STOMACH": np.array([*stomach, 0], dtype=np.int64),
            "PAUSES": np.array([meal_pause], dtype=float),
            "EATS": np.zeros((self.ticks, width)),
            "INFUSED": np.zeros((self.ticks, width)),
            "FAULT": table,
        }
        self._state |= {
            "WORN": np.zeros((B, CGM_ROWS, LANES)),
            "MEMORY": np.zeros((B, RING + DEPTH, LANES)),
            "PUMPING": np.zeros((B, PUMP_ROWS, LANES)),
            "EATING": np.zeros((B, LIST + 4 * scenario.places, LANES)),
            "LIVING": np.zeros((B, LIFE_ROWS, LANES)),
            "SHOWN": np.full((2, width), np.nan),
        }
        inputs = model.names("inputs")
        self._sizes |= {
            "EVERY": int(worn.interval),
            "PLACES": scenario.places,
            "CHANGES": int(lives.changes),
            **{
                f"{k.upper()}_ROW": inputs.index(k) if k in inputs else -1
                for k in ("carbs", "meal", "sensitivity", "dawn")
            },
            "RATE_ROW": len(inputs) + model.names("routes").index("sc"),
            "STOMACH_COUNT": len(stomach),
            "FAULTS": most,
        }
        self._seal()

    @property
    def eaten(self) -> np.ndarray:
        """(n, ticks) carbohydrate truly eaten in each minute of the last step, g."""
        return self._fixed["EATS"][:, : self.n].T.copy()

    @property
    def infused(self) -> np.ndarray:
        """(n, ticks) insulin that truly entered in each minute of the last step, U."""
        return self._fixed["INFUSED"][:, : self.n].T.copy()

    @property
    def given(self) -> np.ndarray:
        """(n,) insulin that has entered each patient since admission, U."""
        return self._state["PUMPING"][:, GIVEN].reshape(-1)[: self.n].copy()
