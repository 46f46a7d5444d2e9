"""Control problems that the tests of the MPC share: glucose, propofol, two drugs; patients near the typical one."""

import numpy as np
from doseloop.controller.problem import Goal, Move, Problem
from doseloop.controller.snapshot import Snapshot
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.population import starting_states
from doseloop.pkpd.system import system

BAND = {"low": 70.0, "low_weight": 10 / 10**2, "high": 180.0, "high_weight": 1 / 10**2}


def glucose(model_id="glucose_t1d_hovorka2004", stages=48, *, goal=None, move=None, **more):
    """Glucose over 4 h at 5 min: 110 mg/dL, a soft band, insulin near basal."""
    rate = {"weight": 1e-2, "change_weight": 1e-2, "reference": 0.015, "scale": 0.1} | (move or {})
    return Problem(
        load(model_id),
        5.0,
        stages,
        [Move("sc", 0.0, 0.5, **rate)],
        [Goal("glucose", 110.0, 1 / 50**2, **(BAND if goal is None else goal))],
        **more,
    )


def propofol(stages=60, *, move=None, **more):
    """BIS 50 over 5 min at 5 s."""
    rate = {"change_weight": 1e-2, "scale": 20.0} | (move or {})
    goal = Goal("bis", 50.0, 1 / 10**2, 40.0, 10 / 10**2, 60.0, 1 / 10**2)
    return Problem(load("propofol_eleveld2018"), 1 / 12, stages, [Move("propofol", 0.0, 200.0, **rate)], [goal], **more)


def two_drugs(stages=40, **more):
    """BIS by propofol and remifentanil together, remifentanil's effect-site level kept near 4 ng/mL."""
    return Problem(
        load("propofol_remifentanil_bouillon2004"),
        1 / 6,
        stages,
        [
            Move("propofol", 0.0, 200.0, change_weight=1e-2, scale=20.0),
            Move("remifentanil", 0.0, 500.0, change_weight=1e-2, scale=50.0),
        ],
        [Goal("bis", 50.0, 1 / 10**2, 40.0, 10 / 10**2, 60.0, 1 / 10**2), Goal("ce_remifentanil", 4.0, 1 / 4**2)],
        **more,
    )


def patients(problem, n=1, seed=1, spread=0.3, meal=50.0, at=2, **more):
    """A snapshot of n patients: individuals drawn with a part of the model's variability, states off their start."""
    model, D = problem.model, problem.draws
    rng = np.random.Generator(np.random.Philox(key=[seed, n]))
    eta = spread * rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, n)
    draws = np.repeat(eta, D, axis=0) + (
        0.3 * spread * rng.multivariate_normal(0 * eta[0], model.omega, n * D) if D > 1 else 0
    )
    p = individuals(model, None, draws)
    x = starting_states(system(model), p) * np.exp(rng.normal(0, 0.1, (len(p), len(model.states))))
    inputs = {}
    if "carbs" in model.names("inputs"):
        inputs["carbs"] = np.where(
            (np.arange(problem.stages) >= at) & (np.arange(problem.stages) < at + 3), meal / 15, 0
        )
        if "meal" in model.names("inputs"):
            inputs["meal"] = np.where(np.arange(problem.stages) >= at, meal, 0.0)
    last = np.tile([m.reference for m in problem.moves], (n, 1))
    given = {"last": last, "inputs": inputs} | more
    return Snapshot(x.reshape(n, D, -1), p.reshape(n, D, -1), **given)
