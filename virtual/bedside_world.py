"""The world of a drug that is dosed by the hour: infusions, levels from the laboratory, kidneys that change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individual_kernel, individuals
from ..pkpd.lanes import LANES
from . import bedside_loop as loop
from .bedside_cohort import clearance
from .lane_draws import draws_kernel
from .levels import KEPT, LEVEL_ROWS, Levels
from .people import People
from .renal import CLEAR, KIND, RENAL_ROWS, SERUM, Renal
from .streams import LEVEL, RENAL
from .world import World, lanes_of

__all__ = ["BedsideObservation", "BedsideWorld", "Infusion"]

DAY = 24.0


@dataclass(frozen=True, slots=True)
class Infusion:
    """How long a dose runs in: at least ``shortest`` h, no faster than ``fastest`` mg/h, in whole ticks of the world,
    and not beyond the interval.
    """

    shortest: float = 1.0
    fastest: float = 600.0


@dataclass(frozen=True, slots=True)
class BedsideObservation:
    """What the ward knows of a batch of n at one moment. Nothing here is the truth.

    Attributes:
        time: h since the world's reset. clock: (n,) h since that patient's admission.
        levels, level_times: (n, 8) reported levels (mg/L; 0 is below the limit of quantification) and when they were
            sampled (h since admission), the newest sample first; NaN where there are no more.
        new: (n,) how many results have come since the last observation.
        creatinine, creatinine_before: (n,) the laboratory's of this day and of the day before, mg/dL; NaN where none.
        delivered: (n, 1) dose of the last interval, mg, begun at its start. duration: (n,) h over which it ran in.
        ended: (n,) True where the patient's run is over.
    """

    time: float
    clock: np.ndarray
    levels: np.ndarray
    level_times: np.ndarray
    new: np.ndarray
    creatinine: np.ndarray
    creatinine_before: np.ndarray
    delivered: np.ndarray
    duration: np.ndarray
    ended: np.ndarray


class BedsideWorld(World[BedsideObservation]):
    """n patients of a linear model, an action being one dose (mg) that begins at once; 0 skips it. Times in h.

    Args:
        people: patients. With a covariate ``scr`` (then also age, weight and sex) renal function changes day by day.
        interval: h between decisions: a day's part (6, 8, 12, 24). tick: h, in which infusions are counted, samples
            drawn and the truth is kept.
        infusion: how long a dose runs in.
        levels, renal: see `virtual.levels`, `virtual.renal`; or their names.
        maturation: one or (n,): rise of the clearance parameter ``cl`` with each day, share of the first day's.
        output, route: what is measured, and how the dose is given.
        n: patients under way (default all of ``people``). keep: keep the true course (`World.trace`).
            threads: that share out the blocks.

    Raises:
        DoseloopError: listing what does not fit.
    """

    _step = staticmethod(loop.bedside_step)
    _reset = staticmethod(loop.bedside_reset)
    actions = ("dose mg",)
    unit = "h"
    integrals = True

    def __init__(
        self,
        people: People,
        *,
        interval: float = 12.0,
        tick: float = 0.5,
        infusion: Infusion | None = None,
        levels: Levels | str = "usual",
        renal: Renal | str = "usual",
        maturation: Any = 0.0,
        output: str = "concentration",
        route: str = "iv",
        n: int | None = None,
        keep: bool = False,
        threads: int = 1,
    ) -> None:
        model = people.model
        laboratory = Levels.named(levels) if isinstance(levels, str) else levels
        kidneys = Renal.named(renal) if isinstance(renal, str) else renal
        how = infusion or Infusion()
        names, covariates = tuple(model.individual_units), model.names("covariates")
        has_renal = "scr" in covariates
        bad = [] if route in model.names("routes") else [f"model '{model.id}' has no route '{route}'"]
        if not (interval > 0 and abs(round(DAY / interval) * interval - DAY) < 1e-9):
            bad.append(f"interval {interval} h is no whole part of a day")
        if not (how.shortest >= 0 and how.fastest > 0):
            bad.append(f"infusion: {how}")
        bad += [
            f"renal function needs the covariate '{k}'"
            for k in ("age", "weight", "sex")
            if has_renal and k not in covariates
        ]
        if bad:
            raise DoseloopError([f"bedside world: {b}" for b in bad])
        super().__init__(
            people, n=n, interval=interval, tick=tick, truth=output, sensed=output, keep=keep, threads=threads,
            normals=0, slots=loop.SLOTS, varies=dict.fromkeys(loop.VARIES, 1.0), shares=loop.SHARES,
        )  # fmt: skip
        if not has_renal:
            self.varies = tuple(k for k in self.varies if k != "creatinine_noise")
        if self._march.propagator == 0:
            raise DoseloopError(f"bedside world: model '{model.id}' is not linear")
        if model.route(route).bioavailability or model.route(route).lag:
            raise DoseloopError(f"bedside world: route '{route}' has a bioavailability or lag of its own")
        n, B, width = self.n, self.blocks, self.blocks * LANES
        grow = lanes_of(maturation, n, "maturation")
        times, assay = laboratory.settings(model, output, self.tick)
        eta = people.eta if people.eta is not None else np.zeros((len(people), len(model.effects)))
        typical = individuals(model, people.covariates, eta)
        fixed = np.concatenate([np.tile(model.theta, (len(people), 1)), people.covariates], axis=1)
        m, e, per_day = len(names), max(1, eta.shape[1]), round(DAY / interval)
        person = np.zeros((len(people), 3))
        if has_renal:
            age, weight, sex, scr = (people.covariates[:, covariates.index(k)] for k in ("age", "weight", "sex", "scr"))
            person = np.column_stack([clearance(age, weight, sex, scr) * scr, scr, weight])
        S = self._march.system
        moving = kidneys.walk > 0 or kidneys.improving + kidneys.falling + kidneys.injury > 0
        self._fixed |= {
            "OUT": np.full((loop.O_ROWS, width), np.nan),
            "COURSE": np.full((B, self.ticks, S.rows_y, LANES), np.nan),
            "INFUSION": np.array([how.shortest, how.fastest]),
            "DOSED": np.zeros((B, 2, LANES)),
            "LIBRARY_FIXED": np.ascontiguousarray(fixed),
            "LIBRARY_ETA": np.ascontiguousarray(eta if eta.shape[1] else np.zeros((len(people), 1))),
            "LIBRARY_RATIO": np.ascontiguousarray(people.parameters / typical),
            "MADE_NEW": np.zeros((B, m, LANES)),
            "RENAL": kidneys.numbers(),
            "PERSON": np.ascontiguousarray(person),
            "MATURATION": grow,
            "LEVEL": assay,
            "TIMES": times,
        }
        self._state |= {
            "EXPOSURE": np.zeros((B, per_day, LANES)),
            "FIXED": np.zeros((B, fixed.shape[1], LANES)),
            "ETA": np.zeros((B, e, LANES)),
            "RATIO": np.ones((B, m, LANES)),
            "RENALS": np.zeros((B, RENAL_ROWS, LANES)),
            "LEVELS": np.full((B, LEVEL_ROWS, LANES), np.nan),
        }
        self._sizes |= {
            "RATE_ROW": len(model.inputs) + model.names("routes").index(route),
            "SUM_ROW": S.n_model + model.names("outputs").index(output),
            "DAY": round(DAY / self.tick),
            "PER_DAY": per_day,
            "INDIVIDUAL": individual_kernel(model, False),
            "ROWS_FIXED": fixed.shape[1],
            "ROWS_ETA": e,
            "CHANGES": int((has_renal and moving) or (grow != 0).any()),
            "HAS_RENAL": int(has_renal),
            "SCR_ROW": len(model.theta) + covariates.index("scr") if has_renal else -1,
            "CL_ROW": names.index("cl") if "cl" in names else -1,
            "SAMPLES": len(times) - 1,
            "DRAW_LEVEL": draws_kernel(LEVEL, 1),
            "DRAW_RENAL": draws_kernel(RENAL, 4),
        }
        self._seal()

    def _said(self, out: np.ndarray) -> BedsideObservation:
        return BedsideObservation(
            self.time,
            out[loop.O_CLOCK],
            out[loop.O_LEVELS : loop.O_LEVELS + KEPT].T,
            out[loop.O_TIMES : loop.O_TIMES + KEPT].T,
            out[loop.O_NEW],
            out[loop.O_SERUM],
            out[loop.O_BEFORE],
            out[loop.O_DOSE, :, None],
            out[loop.O_DURATION],
            out[loop.O_ENDED] > 0,
        )

    # the truth, for scores and rewards: no controller sees it
    # ----------------------------------------------------------

    @property
    def truth(self) -> np.ndarray:
        """(n, ticks) the true level over the last interval, at the end of each tick, mg/L."""
        course = self._fixed["COURSE"][:, :, self._sizes["TRUE"]]
        return course.transpose(0, 2, 1).reshape(-1, self.ticks)[: self.n].copy()

    @property
    def exposure(self) -> np.ndarray:
        """(n, intervals of a day) true AUC of the last intervals (mg·h/L), newest first; their sum is the AUC24."""
        return self._lanes("EXPOSURE")

    @property
    def raw(self) -> tuple[np.ndarray, np.ndarray, int]:
        """The world's own arrays, not copies, for compiled rewards: AUC of the last intervals (blocks, intervals of a
        day, 8), outputs of the last interval (blocks, ticks, outputs, 8), and the row of the scored one."""
        return self._state["EXPOSURE"], self._fixed["COURSE"], self._sizes["TRUE"]

    @property
    def renal(self) -> Mapping[str, np.ndarray]:
        """True creatinine clearance (mL/min) and serum creatinine (mg/dL) of the day, and the course's kind (0 to 3:
        stable, improving, falling, injury), (n,) each; NaN where the model has no creatinine."""
        rows = self._lanes("RENALS")
        return {"clearance": rows[:, CLEAR], "creatinine": rows[:, SERUM], "kind": rows[:, KIND]}

    @property
    def covariates(self) -> np.ndarray:
        """(n, covariates) of the day, in the order of the model; creatinine is that to which clearance leads."""
        return self._lanes("FIXED")[:, len(self.people.model.theta) :]

    def ahead(self, hours: float, lanes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What the next hours would bring if nothing more were given and no kidney changed; nothing moves.

        Args:
            hours: a whole number of ticks.
            lanes: (n,) mask, whose courses are wanted; default all.

        Returns:
            Levels (n, ticks), mg/L, and AUC (n,), mg·h/L; of the lanes asked for, and of others anything.
        """
        S, B, ticks = self._march.system, self.blocks, round(hours / self.tick)
        which = np.ones(B, dtype=np.int64)
        if lanes is not None:
            which[:] = np.concatenate([lanes, np.zeros(B * LANES - self.n, dtype=bool)]).reshape(B, LANES).any(axis=1)
        states, none = np.zeros((B, 2, S.rows_x, LANES)), np.zeros((S.rows_u, LANES))
        course = np.zeros((B, ticks, S.rows_y, LANES))
        loop.bedside_ahead(self._address, ticks, *addresses([which, states, none, course]), 0, B)
        rows = course.transpose(2, 0, 3, 1).reshape(S.rows_y, -1, ticks)[:, : self.n]
        true = self._sizes["TRUE"]
        return rows[true].copy(), rows[len(self.people.model.outputs) + true, :, -1].copy()
