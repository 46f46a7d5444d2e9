"""What the bedside knows of a closed loop's patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Observation"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What the bedside knows of a batch of n at one moment. Nothing here is the truth.

    Attributes:
        time: minutes since the world's reset.
        reading: (n,) the newest sample since the last observation: mg/dL or BIS; NaN where there is none.
        reading_time: (n,) the time stamp on it (min since that patient's admission); NaN where there is none.
        quality: (n,) 0 to 100: signal quality index of a BIS monitor; 100 for a CGM.
        announced: (n,) g of carbohydrate announced at this moment (since the last observation).
        delivered: (n, actions) what the pump confirmed over the last interval, in the actions' units: a mean rate, or
            an amount where the action is an amount.
        ended: (n,) True where the patient's run is over (`World.endings` says why).
        clock: (n,) minutes since that patient's admission; ``time`` for all unless some were admitted later.
        pressure: (n,) mean arterial pressure, mmHg; NaN where it is not measured.
        pending: (n, actions) amounts that were commanded and that the pump is still to deliver (a bolus runs in over
            minutes); what a pump's display says.
    """

    time: float
    reading: np.ndarray
    reading_time: np.ndarray
    quality: np.ndarray
    announced: np.ndarray
    delivered: np.ndarray
    ended: np.ndarray
    clock: np.ndarray
    pressure: np.ndarray
    pending: np.ndarray
