"""The propofol policy: one statement of what is estimated, a margin that passes, scores of the true BIS."""

import numpy as np
import pytest
from doseloop.models import load
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC, AnaesthesiaTuning
from doseloop.policies.closed_loop import run
from doseloop.policies.target_controlled import TargetControlled
from doseloop.twin.statements import bis_sensor, follow_propofol
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld

ELEVELD = "propofol_eleveld2018"


@pytest.fixture(scope="module")
def people():
    return anaesthesia_cohort(ELEVELD, "train", 8)


def looped(people, minutes, tuning, surgery="none"):
    """A run of the policy, with every snapshot that it planned from."""
    policy, planned = AnaesthesiaMPC(tuning=tuning), []
    decide = policy.decide

    def kept(snapshot, *rest):
        planned.append(snapshot)
        return decide(snapshot, *rest)

    policy.decide = kept
    world = AnaesthesiaWorld(people, surgery=surgery, keep=True)
    return run(world, policy, None, minutes, seed=3), planned, policy


def test_the_policy_follows_by_the_one_statement():
    mine, shipped = AnaesthesiaMPC().follow, follow_propofol(load(ELEVELD))
    assert mine.names == shipped.names
    assert (mine.sensor, mine.offset, mine.watch, mine.late) == (
        shipped.sensor,
        shipped.offset,
        shipped.watch,
        shipped.late,
    )
    assert mine.sensor == bis_sensor()


def test_white_noise_leaves_no_row_for_coloured_noise():
    f = follow_propofol(load(ELEVELD), sensor=bis_sensor(3.0, None))
    assert not [n for n in f.names if n.startswith("coloured")]
    assert f.sensor.additive == 3.0
    assert f.sensor.delay == "delay"


def test_a_margin_gives_less_at_first(people):
    with_it, planned, _ = looped(people, 4.0, AnaesthesiaTuning(margin=8.0))
    without, plain, _ = looped(people, 4.0, AnaesthesiaTuning(margin=0.0))
    given = [r.delivered[:, :, 0].sum(axis=0) / 12 / people.known["weight"] for r in (with_it, without)]
    assert np.mean(given[0]) < np.mean(given[1]) - 0.1  # mg/kg
    assert (with_it.truth.min(axis=1) >= without.truth.min(axis=1) - 3.0).all()
    # what is aimed at stays: the band alone stands higher, and only by what is left of the margin
    first = planned[0]
    assert np.allclose(
        first.target[:, 0, 0] - first.offset[:, 0, 0], plain[0].target[:, 0, 0] - plain[0].offset[:, 0, 0]
    )
    assert np.allclose(plain[0].offset[:, :, 0] - first.offset[:, :, 0], 8.0)


def test_the_margin_has_passed_when_the_patient_is_known(people):
    _, planned, policy = looped(people, 2.0, AnaesthesiaTuning(margin=6.0, arrival=1.0))
    # target = whole - margin + passes * stimulation and offset = stimulation - margin (draw 0: the mean)
    share = policy.passes[-1]
    for k, s in enumerate(planned):
        aimed, offset = s.target[:, -1, 0] - policy.tuning.target, s.offset[:, 0, 0]
        margin = (share * offset - aimed) / (1.0 - share)
        assert np.allclose(margin, 6.0 * max(1.0 - k / 12, 0.0), atol=1e-9)


def test_scores_are_of_the_true_depth_and_not_of_the_reading(people):
    runs = {}
    for monitor in ("usual", "ideal"):
        world = AnaesthesiaWorld(people, surgery="step", monitor=monitor, keep=True)
        runs[monitor] = run(world, TargetControlled(), None, 12.0, seed=5)  # looks at no reading
    assert np.array_equal(runs["usual"].truth, runs["ideal"].truth)
    assert np.nanstd(runs["usual"].reading - runs["ideal"].reading) > 2.0
    step = runs["ideal"].truth[:, 125] - runs["ideal"].truth[:, 117]  # minutes 9:50 to 10:30
    assert (step > 8.0).all()  # the surgeon's stimulus is part of it
