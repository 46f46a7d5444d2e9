"""Patients for the worlds' tests: few, quickly made, of any shipped model."""

from functools import cache

import numpy as np
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.virtual.people import People


@cache
def people(model_id, n, seed=1, spread=0.3):
    """n people of a model with its typical covariates and its own random effects, times ``spread``."""
    model = load(model_id)
    covariates = np.tile([c.typical for c in model.covariates], (n, 1)).reshape(n, -1)
    rng = np.random.default_rng(seed)
    eta = spread * rng.multivariate_normal(np.zeros(len(model.effects)), model.omega, n)
    p = individuals(model, covariates, eta)
    column = dict(zip(model.individual_units, p.T))
    names = ("weight", "basal") if "basal" in column else ()
    known = {k: column[k].copy() for k in names}
    if known:
        known |= {"carb_ratio": np.full(n, 12.0), "correction": np.full(n, 30.0)}
    return People(model, p, covariates, known, np.arange(n), np.array(["adult"] * n), eta)


S2008, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"
ELEVELD = "propofol_eleveld2018"
