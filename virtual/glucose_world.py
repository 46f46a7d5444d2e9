"""The world of a person with type 1 diabetes: insulin by a pump, a glucose sensor, meals, life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from .faults import DEPTH, RING, Fault, fault_rows
from .glucose_loop import SLOTS, VARIES, W_ROWS, glucose_reset, glucose_step, minute_kernels
from .life import LIFE_ROWS, Life
from .meal import PAUSE, SIMGLUCOSE, stomach_rows
from .meals import LIST, Meals, meal_numbers
from .people import People
from .pumps import GIVEN, PUMP_ROWS, InsulinPump, insulin_kernels, insulin_settings
from .sensors import CGM, CGM_ROWS, cgm_numbers
from .world import LoopWorld, lanes_of

__all__ = ["GlucoseWorld"]


class GlucoseWorld(LoopWorld):
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

    Attributes:
        sensor, meals: what is worn and eaten.

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
            normals=2 if worn.error == "autoregressive" else 0,
            slots=SLOTS,
            varies=dict(zip(VARIES, (scenario.error, 1.0, scenario.silent, 1.0, 1.0))),
            shares={},
        )
        self.sensor, self.meals = worn, scenario
        n, B, width = self.n, self.blocks, self.blocks * LANES
        most, table = fault_rows(faults, n)
        stomach = stomach_rows(model)
        self._fixed |= {
            "SENSOR": cgm_numbers(worn),
            "PUMP": insulin_settings(device, n),
            "SCENARIO": meal_numbers(scenario),
            "MEALS_GIVEN": scenario.given_rows(n),
            "LIVES": lives.settings(n),
            "LIVES_NUMBERS": np.array([60 * lives.hours[0], 60 * lives.hours[1], *lives.minutes, lives.lasting]),
            "PERSON": np.column_stack(
                [np.asarray(known["weight"], dtype=float), np.asarray(known["basal"], dtype=float)]
            ),
            "STOMACH": np.array([*stomach, 0], dtype=np.int64),
            "PAUSES": np.array([meal_pause], dtype=float),
            "EATS": np.zeros((self.ticks, width)),
            "INFUSED": np.zeros((self.ticks, width)),
            "FAULT": table,
            "SPARE": np.zeros((B, W_ROWS, LANES)),
        }
        self._state |= {
            "WORN": np.zeros((B, CGM_ROWS, LANES)),
            "MEMORY": np.zeros((B, RING + DEPTH, LANES)),
            "PUMPING": np.zeros((B, PUMP_ROWS, LANES)),
            "EATING": np.zeros((B, LIST + 4 * scenario.places, LANES)),
            "LIVING": np.zeros((B, LIFE_ROWS, LANES)),
            "SHOWN": np.full((3, width), np.nan),
            "MIDNIGHT": lanes_of(start, n, "start"),
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
            **dict(zip(("COMMAND", "TURN", "RUN"), insulin_kernels())),
            **dict(zip(("BEGINS", "ENDS"), minute_kernels())),
        }
        self._seal()

    @property
    def midnight(self) -> np.ndarray:
        """(n,) minutes from midnight to each patient's admission: to be written before a reset of those lanes."""
        return self._state["MIDNIGHT"][: self.n]

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
