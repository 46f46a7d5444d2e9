"""Why the guard changed a dose: stable codes, and the verdict that carries them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Code", "Decision", "Reason"]

# Codes from here on lower the dose to a limit; those before refuse it.
FIRST_LOWERING = 32
# Codes from here on change nothing: they are told to whoever asked.
FIRST_NOTICE = 60


class Code(enum.IntEnum):
    """Stable code of a reason: its name for people and files, its value as the bit in a batch's mask.

    Values never change and are never used again; codes under 32 refuse the dose, those under 60 lower it to a limit,
    the others are notices, which leave it as it is.
    """

    ACTION_UNKNOWN = 0
    UNIT_WRONG = 1
    AMOUNT_INVALID = 2
    AMOUNT_NEGATIVE = 3
    NOW_INVALID = 4
    TIME_INVALID = 5
    TIME_PAST = 6
    TIME_TOO_FAR = 7
    DURATION_INVALID = 8
    DURATION_SHORT = 9
    DURATION_LONG = 10
    WEIGHT_INVALID = 11
    WEIGHT_UNIT_WRONG = 12
    WEIGHT_OUT_OF_RANGE = 13
    RECORD_TIME_INVALID = 14
    RECORD_IN_FUTURE = 15
    RECORD_STALE = 16
    HISTORY_INVALID = 17
    HISTORY_UNIT_WRONG = 18
    HISTORY_MISDATED = 19
    INTERVAL_SHORT = 20
    MEASUREMENT_INVALID = 21
    MEASUREMENT_UNKNOWN = 22
    MEASUREMENT_UNIT_WRONG = 23
    MEASUREMENT_OUT_OF_RANGE = 24
    MEASUREMENT_IN_FUTURE = 25
    MEASUREMENT_STOP = 26
    PREDICTION_INVALID = 27
    PREDICTION_UNKNOWN = 28
    HARM_LIKELY = 29
    PREDICTION_UNIT_WRONG = 30
    MEASUREMENT_FALLING = 31
    SINGLE_MAX = 32
    SINGLE_MAX_PER_KG = 33
    INFUSION_RATE_MAX = 34
    INFUSION_RATE_MAX_PER_KG = 35
    ROLLING_MAX = 36
    ROLLING_MAX_PER_KG = 37
    COURSE_MAX = 38
    COURSE_MAX_PER_KG = 39
    INCREASE_MAX = 40
    MEASUREMENT_MISSING = 41
    MEASUREMENT_STALE = 42
    PREDICTION_MISSING = 43
    INCREMENT = 44
    MINIMUM = 45
    MEASUREMENT_POOR = 46
    MEASUREMENT_IMPLAUSIBLE = 47
    PROJECTION_HIGH = 48
    PROJECTION_LOW = 49
    PROJECTION_BEYOND = 50
    SUSPENDED_LONG = 60

    @property
    def refuses(self) -> bool:
        """Whether the reason alone means that nothing is given."""
        return self < FIRST_LOWERING

    @property
    def notice(self) -> bool:
        """Whether the reason changes nothing, and only wants somebody's attention."""
        return self >= FIRST_NOTICE

    @property
    def bit(self) -> int:
        """The code's bit in a mask."""
        return 1 << self


class Decision(enum.Enum):
    """What the guard did with the asked dose."""

    PASSED = "passed"
    LOWERED = "lowered"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for a verdict.

    Attributes:
        code: which rule.
        sentence: the rule in words, with numbers and units.
        source: where the limit's number comes from; empty where the fault is in the data.
    """

    code: Code
    sentence: str
    source: str = ""
