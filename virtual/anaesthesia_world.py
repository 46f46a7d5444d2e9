"""The world of an operation: drugs by syringe pumps, BIS through a monitor, stimulation, blood loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from .anaesthesia_loop import SHARES, SLOTS, VARIES, W_ROWS, anaesthesia_reset, anaesthesia_step, tick_kernels
from .faults import DEPTH, RING, Fault, fault_rows
from .monitors import M_RING, Monitor, monitor_kernels, monitor_numbers, ring_ticks
from .people import People
from .pumps import S_GIVEN, SYRINGE_ROWS, SyringePump, settings, syringe_kernels
from .surgery import POINTS, SURGERY_ROWS, BloodLoss, Surgery
from .world import LoopWorld, lanes_of

__all__ = ["AnaesthesiaWorld"]


class AnaesthesiaWorld(LoopWorld):
    """n patients under propofol (and remifentanil), an action being one rate for each of the model's routes.

    Args:
        people: patients of a model with an output ``bis``; its routes are the drugs.
        interval: control interval, min (5 s). tick: step of monitor, pumps and truth, min (5 s).
        monitor, pumps, surgery, blood_loss: what surrounds them; ``pumps`` one for each route (default: by the route's
            name), or "ideal".
        faults: see `virtual.faults`.
        n: patients under way (default all of ``people``). keep: keep the true BIS (`World.trace`). threads: that share
            out the blocks.

    Raises:
        DoseloopError: listing what does not fit.
    """

    _step = staticmethod(anaesthesia_step)
    _reset = staticmethod(anaesthesia_reset)

    def __init__(
        self,
        people: People,
        *,
        interval: float = 1 / 12,
        tick: float = 1 / 12,
        monitor: Monitor | str = "usual",
        pumps: Mapping[str, SyringePump] | str = "usual",
        surgery: Surgery | str = "none",
        blood_loss: BloodLoss | None = None,
        faults: Sequence[Fault] = (),
        n: int | None = None,
        keep: bool = False,
        threads: int = 1,
    ) -> None:
        model = people.model
        watch = Monitor.named(monitor) if isinstance(monitor, str) else monitor
        cut = Surgery.named(surgery) if isinstance(surgery, str) else surgery
        routes = model.names("routes")
        units = {s.name: s.unit for s in model.states}
        self.actions = tuple(f"{r.name} {units[r.into]}/min" for r in model.routes)
        super().__init__(
            people,
            n=n,
            interval=interval,
            tick=tick,
            truth="bis",
            sensed="bis",
            keep=keep,
            threads=threads,
            normals=3,
            slots=SLOTS,
            varies=dict.fromkeys(VARIES, 1.0),
            shares=SHARES,
        )
        n = self.n
        if len(cut.points) > POINTS:
            raise DoseloopError(f"surgery: {len(cut.points)} points; there is room for {POINTS}")
        devices = (
            {r: SyringePump.named("ideal" if pumps == "ideal" else r) for r in routes}
            if isinstance(pumps, str)
            else pumps
        )
        if set(devices) != set(routes):
            raise DoseloopError(f"pumps: {', '.join(devices)}; the model's routes are {', '.join(routes)}")
        self._pumps = dict(devices)
        names = tuple(model.individual_units)
        own = people.parameters[:, names.index("delay")].max() if "delay" in names else 0.0
        ring = ring_ticks(watch, float(own), self.tick)
        blood = blood_loss or BloodLoss(0.0, 1.0, 0.0)
        rows = [names.index(p) for p in blood.parameters if p in names]
        central = [model.names("states").index(s) for s in blood.central if s in model.names("states")]
        most, table = fault_rows(faults, n)
        how = np.array(
            [lanes_of(v, n, w) for v, w in ((cut.scale, "scale"), (cut.shift, "shift"), (blood.share, "share"))]
        )
        B = self.blocks
        self._fixed |= {
            "MONITOR": monitor_numbers(watch, self.tick),
            "PUMP": np.concatenate([settings(devices[r], n, f"pump of {r}") for r in routes], axis=1),
            "TABLE": np.array(cut.points, dtype=float),
            "STIMULUS_SETTINGS": np.ascontiguousarray(how.reshape(3, B, LANES).transpose(1, 0, 2)),
            "STIMULUS_NUMBERS": np.array([*cut.length, blood.start, blood.duration, blood.replaced]),
            "BLOOD_ROWS": np.array([*rows, 0], dtype=np.int64),
            "CENTRAL_ROWS": np.array([*central, 0], dtype=np.int64),
            "PRESSURES": np.full((self.ticks, B * LANES), np.nan),
            "FAULT": table,
            "SPARE": np.zeros((B, W_ROWS, LANES)),
        }
        self._fixed["PUMP"] = np.ascontiguousarray(self._fixed["PUMP"])
        self._state |= {
            "WATCH": np.zeros((B, M_RING + ring, LANES)),
            "MEMORY": np.zeros((B, RING + DEPTH, LANES)),
            "SYRINGES": np.zeros((B, SYRINGE_ROWS * len(routes), LANES)),
            "STIMULUS": np.zeros((B, SURGERY_ROWS, LANES)),
        }
        outputs = model.names("outputs")
        self._sizes |= {
            "RING_TICKS": ring,
            "WATCH_ROWS": M_RING + ring,
            "TABLE_POINTS": len(cut.points),
            "DEALT": int(cut.random),
            "DELAY_ROW": names.index("delay") if "delay" in names else -1,
            "MAP_ROW": outputs.index("map") if "map" in outputs else -1,
            "BLEEDS": int(blood_loss is not None),
            "BLOOD_COUNT": len(rows),
            "CENTRAL_COUNT": len(central),
            "ROUTE_ROW": len(model.inputs),
            "FAULTS": most,
            **dict(zip(("COMMAND", "RUN"), syringe_kernels())),
            **dict(zip(("ENDS", "STIMULATED"), tick_kernels())),
            **dict(zip(("QUALITY", "READING"), monitor_kernels())),
        }
        self._seal()

    @property
    def pressure(self) -> np.ndarray:
        """(n, ticks) the true mean arterial pressure over the last step, mmHg (NaN where the model has none)."""
        return self._fixed["PRESSURES"][:, : self.n].T.copy()

    @property
    def given(self) -> np.ndarray:
        """(n, drugs) what has entered each patient since admission (the drug's unit)."""
        rows = self._state["SYRINGES"].reshape(self.blocks, len(self.actions), SYRINGE_ROWS, LANES)[:, :, S_GIVEN]
        return rows.transpose(0, 2, 1).reshape(-1, len(self.actions))[: self.n].copy()
