"""Imitation: a teacher's doses on a pupil's levers, lessons, what follows them."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from doseloop.envs.sb3 import SB3VecEnv
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.training import export
from doseloop.policies.training.imitate import imitate
from doseloop.policies.training.run import Run
from doseloop.policies.training.teachers import Lesson, teacher
from helpers_training import GLUCOSE, run, small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
torch.set_num_threads(1)


def test_a_teachers_doses_on_a_pupils_levers():
    """The pupil's action, in its environment, asks for the teacher's dose in the teacher's environment."""
    how = {"num_envs": 16, "split": "train", "patients": 20, "hours": 10.0, "start": 6.0, "guard": False}
    pupil, dosed = gymnasium.make_vec(GLUCOSE, **how), gymnasium.make_vec(GLUCOSE, action="dose", **how)
    seen, _ = pupil.reset(seed=2)
    dosed.reset(seed=2)
    base, boluses = pupil.unwrapped, 0
    lesson = Lesson(base)
    low, half = np.zeros(2), np.array([5.0, 12.5])
    rng = np.random.default_rng(0)
    for _ in range(120):
        announced = np.nan_to_num(base.seen.announced)
        usual = announced / base.known["carb_ratio"]
        doses = np.column_stack([base.known["basal"] * rng.uniform(0.2, 3, 16), usual * rng.uniform(0.3, 1.0, 16)])
        wanted, counts = lesson(doses, seen)
        assert np.array_equal(counts[:, 1] > 0, announced > 0)
        boluses += int((announced > 0).sum())
        seen, _, _, _, told = pupil.step(wanted)
        expected = dosed.step((doses - low) / half - 1.0)[-1]
        assert np.abs(told["allowed"] - expected["allowed"]).max() < 0.051  # one increment of the pump
    assert boluses > 10


@pytest.mark.parametrize(
    ("id", "how"),
    [
        ("Propofol-v0", {}),
        ("Propofol-v0", {"observation": "belief"}),
        ("Vancomycin-v0", {"action": "usual"}),
        ("Vancomycin-v0", {}),
        ("Phenobarbital-v0", {}),
        ("Phenobarbital-v0", {"action": "usual"}),
    ],
)
def test_one_lever_is_the_dose_in_its_own_unit(id, how):
    env = gymnasium.make_vec(f"doseloop.envs:doseloop/{id}", num_envs=6, patients=6, **how)
    seen, _ = env.reset(seed=0)
    base, weight = env.unwrapped, env.unwrapped.known["weight"]
    unit = base.actions.levers[0].unit
    dose = {"× 6 mg/kg/h": weight / 10 * 3, "mg": weight, "× 15 mg/kg": weight * 15}.get(unit, weight * 2.25)[:, None]
    wanted, counts = Lesson(base)(dose, seen)
    factor = {"× 6 mg/kg/h": 3.0, "mg": weight, "× 15 mg/kg": 1.0, "mg/kg": 2.25, "× 2.25 mg/kg": 1.0}[unit]
    lever = base.actions.levers[0]
    asked = lever.low + (wanted[:, 0] + 1.0) / 2.0 * (lever.high - lever.low)
    assert asked == pytest.approx(np.broadcast_to(factor, 6), rel=1e-9)
    assert (counts == 1).all()
    with pytest.raises(DoseloopError, match="no rule makes levers"):
        Lesson(gymnasium.make_vec(GLUCOSE, num_envs=2, patients=4, action="rate").unwrapped)


@pytest.mark.slow
def test_a_pupil_learns(tmp_path):
    """Vancomycin in a few lessons: nearer to what the MPC asks for among patients it has not seen."""
    chosen = replace(
        small(), task="vancomycin", env="doseloop/Vancomycin-v0", kwargs={"action": "usual"}, prior=(-0.33,),
        policy={"net_arch": [32, 32]}, round=14, sb3={"n_steps": 14, "batch_size": 28}, steps=0,
    )  # fmt: skip
    trained = run(tmp_path, chosen)

    def off():
        env = trained._environment("validation", 40, autoreset_mode="NextStep")
        seen, _ = env.reset(seed=9)
        tutor, lesson = teacher(env.unwrapped), Lesson(env.unwrapped)
        tutor.reset(dict(env.unwrapped.known), 40)
        total = 0.0
        for _ in range(14):
            wanted, _ = lesson(tutor.act(env.unwrapped.seen), seen)
            total += float(np.mean((trained.network({}).act(seen) - wanted) ** 2))
            seen = env.step(wanted)[0]
        return total

    before = off()
    how = {"lessons": (2, 40), "passes": 60, "notes": tmp_path / "lessons.npz"}
    errors = imitate(trained.model, trained._environment, 0, trained.tell, **how)
    assert len(errors) == 2
    assert off() < 0.6 * before
    trained = Run(chosen, 4, tmp_path / "other", SB3VecEnv, examined=9)
    before = off()
    assert (
        len(imitate(trained.model, None, 4, trained.tell, **how)) == 1
    )  # from the first one's notes, without a teacher
    assert off() < 0.6 * before


def test_a_warm_start_trains_the_critic_first(tmp_path, monkeypatch):
    import doseloop.policies.training.imitate as room

    monkeypatch.setattr(room, "imitate", lambda *_, **__: [])
    trained = run(tmp_path, small(imitate=True))
    trained._first()
    before = {k: v.clone() for k, v in trained.model.policy.state_dict().items()}
    actor = [v.clone() for v in export.actor(trained.model).parameters()]
    trained._round()
    assert all(torch.equal(a, b) for a, b in zip(actor, export.actor(trained.model).parameters()))
    after = trained.model.policy.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before if "value" in k)
    trained.done = 1
    trained._round()
    assert not all(torch.equal(a, b) for a, b in zip(actor, export.actor(trained.model).parameters()))
