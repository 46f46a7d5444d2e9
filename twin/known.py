"""The prior of one patient's effects, given what the usual protocol knows of that patient.

A basal rate, a carbohydrate ratio, a correction factor are each a function of the model's parameters. Over draws from
the population their joint law with the effects is taken as normal, and the effects are conditioned on the values
known: the update of an ensemble Kalman filter (Evensen 2003). The caller computes the functions (by simulation where
they need one), so that this room needs to know nothing of them.
"""

from __future__ import annotations

import numpy as np

from ..pkpd.errors import DoseloopError

__all__ = ["conditioned"]


def conditioned(
    eta: np.ndarray,
    features: np.ndarray,
    known: np.ndarray,
    error: np.ndarray | float,
    omega: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, effects) and covariance (effects, effects) of the effects of n patients.

    Args:
        eta: (draws, effects) from the population.
        features: (draws, f) what would be known of each draw, on a scale where errors are about normal (logarithms).
        known: (n, f) what is known of each patient, on the same scale.
        error: SD of what is known around the truth, one or (f,): a clinic's ratios are rough.
        omega: (effects, effects) the covariance of a population with mean 0; default mean and covariance of ``eta``
            itself (draws of a cohort that was accepted by rules are not the model's normal law any more).

    Raises:
        DoseloopError: shapes do not fit, too few draws, or a number is not finite.
    """
    eta, features, known = (np.atleast_2d(np.asarray(a, dtype=float)) for a in (eta, features, known))
    bad, effects = [], eta.shape[1]
    if len(eta) != len(features) or known.shape[1] != features.shape[1]:
        bad.append(f"eta {eta.shape}, features {features.shape}, known {known.shape}")
    if omega is not None and np.shape(omega) != (effects, effects):
        bad.append(f"omega {np.shape(omega)} for {effects} effects")
    if len(eta) < 10 * (features.shape[1] + 1) or (omega is None and len(eta) < 5 * effects):
        bad.append(f"{len(eta)} draws are too few for {features.shape[1]} features and {effects} effects")
    if not all(np.isfinite(a).all() for a in (eta, features, known)):
        bad.append("a number is not finite")
    if bad:
        raise DoseloopError([f"prior of a patient: {b}" for b in bad])
    centre = np.zeros(effects) if omega is not None else eta.mean(axis=0)
    spread = np.cov(eta.T).reshape(effects, effects) if omega is None else np.asarray(omega, dtype=float)
    root, count = np.linalg.cholesky(spread), features.shape[1]
    white = np.column_stack([np.ones(len(eta)), np.linalg.solve(root, (eta - centre).T).T])
    fit = np.linalg.lstsq(white, features, rcond=None)[0]
    level, slopes = fit[0], fit[1:]
    rest = features - white @ fit  # what is not linear in the effects counts as error
    R = np.cov(rest.T).reshape(count, count) + np.diag(np.broadcast_to(error, (count,)) ** 2)
    cross = root @ slopes  # covariance of effects and features
    S = slopes.T @ slopes + R
    gain = np.linalg.solve(S, cross.T).T
    mean = centre + (known - level) @ gain.T
    covariance = spread - gain @ cross.T
    return mean, 0.5 * (covariance + covariance.T)
