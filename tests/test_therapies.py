"""What holds of every therapy in the folder, with no line for each."""

import pytest
from doseloop import therapies
from doseloop.controller.bedside import asked_of, context_of
from doseloop.pkpd.record import CovariateRow, Record
from doseloop.pkpd.regimen import Regimen
from doseloop.safety import Decision, guard
from doseloop.therapies.therapy import QUANTITIES


@pytest.fixture(params=therapies.ids())
def therapy(request):
    return therapies.load(request.param)


def test_the_usual_protocol_passes_the_guard(therapy):
    """Dose by dose, each asked for when it is due, at the typical covariates of the first model."""
    covariates = therapy.models[0].typical_covariates
    doses = therapy.protocol(covariates).doses
    assert len(doses) > 1
    for i, dose in enumerate(doses):
        rows = (CovariateRow(0.0, covariates),)
        record = Record("typical", rows, Regimen(*doses[:i]), (), dose.time)
        context = context_of(therapy, record, {h.name: 0.0 for h in therapy.harms})
        (asked,) = asked_of(therapy, Regimen(dose))
        verdict = guard(asked, context, therapy.limits)
        assert verdict.decision is Decision.PASSED, verdict.sentence


def test_goal_and_harms_are_known_and_limited(therapy):
    goal = therapy.goal
    assert goal.low < goal.target < goal.high
    assert {goal.quantity, *(h.quantity for h in therapy.harms)} <= QUANTITIES.keys()
    assert {h.name for h in therapy.harms} == {h.name for h in therapy.limits.predicted}
    assert len(therapy.model_ids) == len(therapy.prior_weights)
