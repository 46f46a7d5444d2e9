"""Compilation made visible, and done ahead: what the first run on a machine spends its time on.

Event loops are compiled by Numba, once per machine and version of the code; kernels once per edit of their model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..pkpd.individuals import individuals
from ..pkpd.march import march_of
from ..pkpd.model import Model
from ..pkpd.objects import listen
from ..pkpd.record import CovariateRow, Measurement, Record
from ..pkpd.regimen import Dose, Regimen
from ..pkpd.simulate import simulate
from .forecast import forecast
from .posterior import posterior

__all__ = ["Watch", "warm"]


class Watch:
    """Counts and times what is compiled while it is entered.

    Args:
        say: called with a sentence when an event loop's compilation begins, and when it ends.

    Attributes:
        loops, kernels: how many were compiled; ``cached``: kernels that came from the cache.
        seconds: spent compiling (not loading).
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.say = say or (lambda text: None)
        self.loops = self.kernels = self.cached = 0
        self.seconds = 0.0
        self._depth, self._start = 0, 0.0
        self._stop: list[Callable[[], None]] = []

    def __enter__(self) -> Watch:
        from numba.core import event

        watch = self

        class Listener(event.Listener):
            def on_start(self, event: Any) -> None:
                watch._begin(event)

            def on_end(self, event: Any) -> None:
                watch._end(event)

        listener = Listener()
        event.register("numba:compile", listener)
        self._stop = [lambda: event.unregister("numba:compile", listener), listen(self._kernel)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for stop in self._stop:
            stop()

    def _begin(self, event: Any) -> None:
        if self._depth == 0:
            self._start = time.perf_counter()
            self.say(f"compiling the loop '{_name(event)}' (once per machine) …")
        self._depth += 1

    def _end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            elapsed = time.perf_counter() - self._start
            self.seconds += elapsed
            self.loops += 1
            self.say(f"compiled the loop '{_name(event)}' in {elapsed:.1f} s")

    def _kernel(self, name: str, from_cache: bool, seconds: float) -> None:
        if from_cache:
            self.cached += 1
        else:
            self.kernels += 1
            self.seconds += seconds

    @property
    def sentence(self) -> str:
        """What was compiled, in words."""
        if not self.loops and not self.kernels:
            return f"nothing to compile, {_count(self.cached, 'kernel')} from the cache"
        what = " and ".join(_count(n, w) for n, w in ((self.loops, "loop"), (self.kernels, "kernel")) if n)
        return f"{what} compiled in {self.seconds:.1f} s, once per machine"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _name(event: Any) -> str:
    return str(getattr(event.data.get("dispatcher"), "__name__", "?"))


def warm(model: Model) -> None:
    """Make ready all that simulation, fit and forecast of a model need; of one for loops, its march.

    (A loop's estimator and solver compile the rest when it begins.)
    """
    if model.time_unit == "min":
        march_of(model, 1.0)
        return
    route = model.routes[0]
    length = 1.0 if "bolus" not in route.kinds else None
    regimen = Regimen(Dose(0.0, 1.0, route.name, duration=length, additional=1, interval=12.0))
    for integrals in (False, True):
        simulate(model, individuals(model), regimen, [6.0, 12.0], integrals=integrals)
    measured = [o.name for o in model.outputs if o.residual is not None]
    if not measured or not model.effects:
        return
    level = float(simulate(model, individuals(model), regimen, [6.0])[measured[0]][0, 0])
    rows = (CovariateRow(0.0, model.typical_covariates),) if model.covariates else ()
    record = Record("warm", rows, regimen, (Measurement(6.0, measured[0], max(level, 1e-9)),), 24.0)
    forecast(posterior([model], record, draws=256), until=48.0, draws=16)
