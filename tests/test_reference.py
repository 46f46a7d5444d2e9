"""The slow reference and the event loop, written apart, give the same for any regimen."""

from __future__ import annotations

import numpy as np
import pytest
from doseloop.pkpd import reference
from doseloop.pkpd.engine import Method
from doseloop.pkpd.errors import ModelError, SolverError
from doseloop.pkpd.regimen import Bolus, Dose, Regimen, Reset
from helpers_pk import linear_model, michaelis_menten_model, run_all


def any_event(rng, route):
    """A dose of any kind at a half hour, so that many fall together; lag, F, rate and duration are the route's."""
    amount, time = float(rng.uniform(20, 200)), float(rng.integers(0, 40)) / 2
    repeats = {"additional": 3, "interval": 4.0}
    kinds = [
        {},
        {"duration": float(rng.uniform(0.5, 20))},
        {"rate": float(rng.uniform(5, 80))},
        {"duration": float(rng.uniform(0.5, 9)), **repeats},
        {"reset": bool(rng.random() < 0.4), **repeats},
        {"modelled": "rate"},
        {"modelled": "duration"},
    ]
    return Dose(time, amount, route, **kinds[rng.integers(0, 7 if route.startswith("full") else 5)])


@pytest.mark.parametrize("make", [lambda: linear_model(2), michaelis_menten_model], ids=["linear", "saturable"])
def test_any_regimen(make):
    model, rng = make(), np.random.Generator(np.random.Philox(7))
    # a lag that is still running at many a reset
    p, times, seen = (
        dict(zip(model.individual_units, model.theta.tolist())) | {"lag": 1.7},
        np.arange(1.0, 50.0, 4.0),
        0,
    )
    for _ in range(24):
        events = [any_event(rng, str(rng.choice(model.names("routes")))) for _ in range(rng.integers(1, 7))]
        resets = [Reset(float(rng.integers(0, 40)) / 2)] if rng.random() < 0.5 else []
        regimen = Regimen(*events, *resets)
        expected = reference.simulate_reference(model, p, regimen, times)
        got, status = run_all(model, list(p.values()), regimen, times, Method(rtol=1e-11, atol=1e-13))
        assert not status.any()
        seen += expected.max() > 0
        assert np.abs(got[0] - expected).max() <= 1e-9 * expected.max() + 1e-12, regimen
    assert seen > 18


def test_a_level_at_a_dose_s_time_is_drawn_before_it():
    model = linear_model(1)
    p = dict(zip(model.individual_units, model.theta.tolist()))
    levels = reference.simulate_reference(model, p, Regimen(Bolus(100.0, 1.0)), [1.0, 1.0 + 1e-9, 0.5])
    assert levels[:, 0] == pytest.approx([0.0, 100.0 / 30.0, 0.0], rel=1e-6)


def test_a_steady_state_dose_and_a_wrong_name_are_refused():
    model = linear_model(1)
    p = dict(zip(model.individual_units, model.theta.tolist()))
    with pytest.raises(SolverError, match="many doses"):
        reference.simulate_reference(model, p, Regimen(Bolus(1.0, every=12.0, steady_state=True)), [1.0])
    with pytest.raises(ModelError, match="no state is named"):
        reference.run(
            model, lambda t, x, p, u: {"central": x.centrl}, ["central"], 0.0, reference.Fields("state", {}), p, {}
        )
