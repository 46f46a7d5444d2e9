"""One patient: record → posterior → forecast, what-if."""

from .forecast import Forecast, compare, forecast
from .posterior import ModelPosterior, Posterior, posterior
from .sync import sync

__all__ = ["Forecast", "ModelPosterior", "Posterior", "compare", "forecast", "posterior", "sync"]
