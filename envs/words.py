"""What the page of an environment says of its rewards, costs, start, end and splits: `docs/pages.py` prints it.

``outlook`` is what ``reward/end`` holds beside the price of an early end.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["WORDS"]

GUARD = "1 if the guard allowed less than was asked, by more than the pump's rounding"
SPLITS = (
    "`train` to learn, `validation` to choose, `test` to report; each a cohort of its own, drawn by counter, so that "
    "person k of a split is the same whoever asks and no person stands in two of them (docs/virtual.md). An episode "
    "draws one of the first `patients` persons."
)

WORDS: Mapping[str, Mapping[str, str]] = {
    "doseloop/Glucose-v0": {
        "risk": "mean risk of the interval's minutes of true glucose, divided by 100: Magni 2007 (0 at 139 mg/dL), or "
        "Kovatchev 1997",
        "low": "share of the interval with true glucose below 70 mg/dL",
        "very low": "share of the interval below 54 mg/dL, on top",
        "guard": GUARD,
        "start": "A person of the split, in the steady state of the programmed basal rate, at a random time of the day "
        "(`start` fixes it). Nothing is on board, no meal is under way.",
        "end": "The episode is over for good when the true glucose that is scored falls below 10 or rises above 600 "
        "mg/dL, or is no longer finite.",
        "outlook": "when the episode has its whole length and insulin on board (with what the pump is still to "
        "deliver) would take true glucose below 70 mg/dL by the correction factor, announced carbohydrate under way "
        "counted by the carbohydrate ratio: the risk of where it would stand, for four hours",
        "splits": SPLITS,
    },
    "doseloop/Propofol-v0": {
        "error": "mean over the interval of |BIS − 50| / 50 (its integral is Struys's IAE), or of its square",
        "deep": "share of the interval with true BIS below 40",
        "very deep": "share of the interval below 30, on top",
        "guard": GUARD,
        "start": "A person of the split, awake, no drug given. Induction is part of the episode.",
        "end": "Nothing but a state that is no longer finite ends an operation before its time.",
        "splits": SPLITS,
    },
    "doseloop/Vancomycin-v0": {
        "under": "share of a day times how far the true AUC of the last 24 h lies below 400 mg·h/L, as a share of 400 "
        "(on the first day the AUC until now, scaled to a day)",
        "over": "the same above 600 mg·h/L, as a share of 300, at most 2",
        "toxic": "1 if that AUC is above 600",
        "trough": "1 if the true level at the interval's end is above 20 mg/L",
        "guard": GUARD,
        "start": "An adult of the split before the first dose; kidneys that are stable, improve, fail or are injured.",
        "end": "Nothing but a state that is no longer finite ends a course before its time.",
        "outlook": "when the course has its whole length: what the doses given will still do in the next 24 h, by the "
        "rule of `over`",
        "splits": SPLITS,
    },
    "doseloop/Phenobarbital-v0": {
        "under": "share of a day times how far the true level lies below 15 mg/L, as a share of 15, over the interval",
        "over": "the same above 40 mg/L, as a share of 20, at most 2",
        "high": "share of the interval above 40 mg/L",
        "toxic": "share of the interval above 50 mg/L, on top",
        "guard": GUARD,
        "start": "A newborn of the split before the first dose.",
        "end": "Nothing but a state that is no longer finite ends a course before its time.",
        "outlook": "when the course has its whole length: what the doses given will still do in the next 24 h, by the "
        "rule of `over`",
        "splits": SPLITS,
    },
}
