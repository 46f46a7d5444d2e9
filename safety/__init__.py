"""Limits and the guard that every dose passes.

::

    Limits (one table a therapy, complete or LimitsError)
                     │
    Asked ─────────▶ guard ─────────▶ Verdict
    (the dose)       ▲    │           allowed   never more than was asked
                     │    │           asked     as it came
    Context ─────────┘    │           reasons   every one: code and sentence
    (the patient, now)    │
                          └ guard_regimen: dose after dose;  guard_batch: arrays, compiled, same bits

The guard knows no model and no solver, reads no clock, and imports nothing of ours. It only ever moves a dose towards
the safe action, which is to give nothing: what is missing, not finite, negative, stale, of another unit or impossible
is refused, what is over a limit is lowered to it, and the rest passes unchanged.
"""

from .asked import Asked, Context, Given, Measurement, Prediction, Projection, Reading, Verdict
from .batch import Batch, OwnLimits, guard_batch
from .guard import guard, guard_regimen
from .ledger import Ledger
from .limits import Limits
from .parts import (
    ActionLimits,
    Bound,
    DoseLimits,
    HarmLimit,
    Kind,
    LimitsError,
    MeasurementLimits,
    ProjectionLimits,
    RateLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
)
from .reasons import Code, Decision, Reason

__all__ = [
    "ActionLimits",
    "Asked",
    "Batch",
    "Bound",
    "Code",
    "Context",
    "Decision",
    "DoseLimits",
    "Given",
    "HarmLimit",
    "Kind",
    "Ledger",
    "Limits",
    "LimitsError",
    "Measurement",
    "MeasurementLimits",
    "OwnLimits",
    "Prediction",
    "Projection",
    "ProjectionLimits",
    "RateLimits",
    "Reading",
    "Reason",
    "RollingTotal",
    "SafeAction",
    "Unlimited",
    "Verdict",
    "WeightRange",
    "guard",
    "guard_batch",
    "guard_regimen",
]
