"""Goal and limits as an optimal control problem; the recommendation."""

from .outcome import Outcome
from .recommend import Candidate, Options, Recommendation, recommend

__all__ = ["Candidate", "Options", "Outcome", "Recommendation", "recommend"]
