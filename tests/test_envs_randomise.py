"""What episodes draw beside their patient: by seed and episode, each quantity alone, and felt by the plant."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.checker import check_vector_env
from doseloop.envs.randomise import QUANTITIES
from doseloop.pkpd.errors import DoseloopError
from gymnasium.envs.registration import load_env_creator

SMALL = {
    "doseloop/Glucose-v0": {"patients": 20, "start": 11.0},
    "doseloop/Propofol-v0": {"patients": 20},
    "doseloop/Phenobarbital-v0": {"patients": 20},
    "doseloop/Vancomycin-v0": {"patients": 20},
}
RANGES = {id: {k: (max(q.low, 0.4), min(q.high, 0.9)) for k, q in QUANTITIES[id].items()} for id in SMALL}
RANGES["doseloop/Phenobarbital-v0"].pop("creatinine_noise")  # its model reads none
EACH = [(id, k) for id in SMALL for k in RANGES[id]]
STEPS = dict(zip(SMALL, (30, 110, 8, 8)))


def many(id, n, **how):
    return gymnasium.make_vec(f"doseloop.envs:{id}", num_envs=n, **SMALL[id] | how)


def course(env, steps):
    seen = [env.reset(seed=11)[0]]
    action = np.full(env.action_space.shape, -0.5, dtype=np.float32)
    seen += [env.step(action)[0] for _ in range(steps)]
    return np.stack(seen)


@pytest.mark.parametrize(("id", "name"), EACH)
def test_each_quantity_is_felt_and_moves_no_other(id, name):
    q, world = QUANTITIES[id][name], many(id, 6).unwrapped.world
    low, high = (0.6, 0.9) if name != "silent" else (1.0, 1.0)
    plain, varied = many(id, 6), many(id, 6, randomise={name: (low, high)})
    a, b = course(plain, STEPS[id]), course(varied, STEPS[id])
    assert not np.array_equal(a, b)
    drawn = varied.unwrapped.world.varied(name)
    assert ((drawn >= low) & (drawn <= high)).all()
    assert len(set(drawn)) == (6 if high > low else 1)
    assert np.array_equal(plain.unwrapped.world.who, varied.unwrapped.world.who)
    for other in world.varies:
        if other != name:
            assert np.array_equal(varied.unwrapped.world.varied(other), plain.unwrapped.world.varied(other))
    if q.factor:  # a factor of 1 is nothing at all
        assert np.array_equal(a, course(many(id, 6, randomise={name: (1.0, 1.0)}), STEPS[id]))


@pytest.mark.parametrize("id", SMALL)
def test_every_rule_is_kept_and_lanes_draw_alone(id):
    how = SMALL[id] | {"randomise": RANGES[id], "max_episode_steps": 4}
    creator = load_env_creator(gymnasium.spec(id).entry_point)
    check_vector_env(
        lambda **mode: gymnasium.make_vec(id, **how, **mode), single=lambda: creator(**how), num_envs=3, steps=9
    )


def test_every_episode_draws_anew():
    env = many("doseloop/Vancomycin-v0", 3, randomise={"clearance": (0.5, 2.0)})
    env.reset(seed=1)
    first = env.unwrapped.world.varied("clearance")
    env.reset()
    second = env.unwrapped.world.varied("clearance")
    env.reset(seed=1)
    assert (first != second).all()
    assert np.array_equal(env.unwrapped.world.varied("clearance"), first)


def test_an_oracle_is_told_the_parameters_that_there_are():
    env = many("doseloop/Propofol-v0", 4, randomise={"clearance": (0.5, 0.5)})
    env.reset(seed=1)
    world, told = env.unwrapped.world, env.unwrapped.privileged()["parameters"]
    names = list(world.people.model.individual_units)
    wanted = world.people.parameters[world.who]
    assert told[:, names.index("cl")] == pytest.approx(0.5 * wanted[:, names.index("cl")])
    assert told[:, names.index("v1")] == pytest.approx(wanted[:, names.index("v1")])


def test_factors_are_log_uniform():
    env = many("doseloop/Propofol-v0", 4000, randomise={"ce50": (0.5, 2.0)})
    env.reset(seed=1)
    logs = np.log(env.unwrapped.world.varied("ce50")) / np.log(2.0)  # uniform from −1 to 1: SD of the mean 0.009
    assert abs(logs.mean()) < 0.04
    assert logs.std() == pytest.approx(1 / np.sqrt(3), abs=0.02)


def test_every_fault_is_listed_at_once():
    ranges = {"noise": (1, 2), "meal_size": (2.0, 1.0), "silent": 0.5, "sensor_noise": (np.nan, 1.0)}
    with pytest.raises(DoseloopError) as e:
        many("doseloop/Glucose-v0", 1, randomise=ranges)
    text = str(e.value)
    assert text.count("Glucose-v0: randomise:") == 4
    parts = ("'noise' is unknown; there are carbohydrate_error", "'meal_size' is (2, 1)", "'silent' is 0.5", "(nan, 1)")
    for part in parts:
        assert part in text
    with pytest.raises(DoseloopError, match="grasela1985' has nothing of that kind"):
        many("doseloop/Phenobarbital-v0", 1, randomise={"creatinine_noise": (0.5, 1.0)})
