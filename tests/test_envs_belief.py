"""Observations of what the twin believes: the policies' own estimator, lane by lane, through every kind of reset."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.checker import check_vector_env
from doseloop.models import load
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC
from doseloop.policies.glucose_mpc import GlucoseMPC
from doseloop.twin.statements import follow_propofol
from gymnasium.envs.registration import load_env_creator

GLUCOSE, PROPOFOL = "doseloop/Glucose-v0", "doseloop/Propofol-v0"
VANCOMYCIN, PHENOBARBITAL = "doseloop/Vancomycin-v0", "doseloop/Phenobarbital-v0"
SMALL = {
    GLUCOSE: {"patients": 20, "start": 11.0},
    PROPOFOL: {"patients": 20},
    VANCOMYCIN: {"patients": 20, "levels": "pair"},
    PHENOBARBITAL: {"patients": 20, "levels": "pair"},
}


def many(id, n, **how):
    return gymnasium.make_vec(f"doseloop.envs:{id}", num_envs=n, **SMALL[id] | {"observation": "belief"} | how)


@pytest.fixture(params=SMALL)
def id(request):
    return request.param


def test_a_lane_is_the_single_environment_through_resets(id):
    env, raw = many(id, 9, stack=1, max_episode_steps=4), many(id, 9, stack=1, max_episode_steps=4, observation="raw")
    alone = gymnasium.make(f"doseloop.envs:{id}", **SMALL[id], observation="belief", stack=1).unwrapped
    env.action_space.seed(0)
    seen, plain = env.reset(seed=5)[0], raw.reset(seed=5)[0]
    assert seen.shape[1] > plain.shape[1]
    for k in (0, 8):
        assert np.array_equal(alone.reset(seed=5 + k)[0], seen[k])
    episode = [alone.reset()[0]]  # the second of lane 8
    env.reset(seed=5)
    for t in range(9):
        action = env.action_space.sample()
        seen, plain = env.step(action)[0], raw.step(action)[0]
        assert np.array_equal(seen[:, : plain.shape[1]], plain)
        if t > 4:
            episode.append(alone.step(action[8])[0])
        if t >= 4:
            assert np.array_equal(seen[8], episode[-1])


def test_same_step_is_next_step_without_the_empty_steps(id):
    late, soon = many(id, 5, max_episode_steps=4), many(id, 5, max_episode_steps=4, autoreset_mode="SameStep")
    late.action_space.seed(1)
    assert np.array_equal(late.reset(seed=2)[0], soon.reset(seed=2)[0])
    for t in range(9):
        action = late.action_space.sample()
        a, b = late.step(action), soon.step(action)
        if t % 4 == 3:
            assert np.array_equal(a[0], np.stack(b[4]["final_obs"]))
            a = late.step(action)
        assert np.array_equal(a[0], b[0])


def test_a_lane_that_is_reset_begins_anew_and_the_others_go_on(id):
    env, other = (many(id, 9, autoreset_mode="Disabled") for _ in range(2))
    env.action_space.seed(1)
    env.reset(seed=1)
    other.reset(seed=1)
    mask = np.arange(9) == 4
    for t in range(6):
        action = env.action_space.sample()
        a, b = env.step(action)[0], other.step(action)[0]
        assert np.array_equal(a[~mask], b[~mask])
        if t == 2:
            env.reset(seed=77, options={"reset_mask": mask})
    fresh = many(id, 9)
    first, _ = fresh.reset(seed=77)
    again, _ = env.reset(seed=77, options={"reset_mask": mask})
    assert np.array_equal(again[4], first[4])


@pytest.mark.parametrize(("id", "policy"), [(GLUCOSE, GlucoseMPC), (PROPOFOL, AnaesthesiaMPC)])
def test_the_belief_is_the_policys(id, policy):
    env, mpc = many(id, 3), policy()
    env.reset(seed=4)
    inside = env.unwrapped
    mpc.reset(dict(inside.known), 3)
    levers = inside.actions.levers
    for _ in range(14):
        wanted = mpc.act(inside.seen)  # what it believes is of interest, not what it wants
        assert np.isfinite(wanted).all()
        mine = inside.believed.tracker.belief
        # the prior of a library and that of three patients differ by roundings
        assert mpc.belief.mean == pytest.approx(mine.mean, rel=1e-7, abs=1e-7)
        assert mpc.belief.truth_sd == pytest.approx(mine.truth_sd, rel=1e-6)
        env.step(np.zeros((3, len(levers)), dtype=np.float32))


def test_what_is_shown_is_the_belief_and_its_prediction():
    env = many(PROPOFOL, 4)
    seen = env.reset(seed=4)[0]
    for _ in range(30):
        seen, *_ = env.step(np.full((4, 1), -0.7, dtype=np.float32))
    inside = env.unwrapped
    columns = dict(zip([f.name for f in inside.scale.features], inside.scale.values(seen).T))
    belief, follower = inside.believed.tracker.belief, inside.believed.tracker.follower
    assert columns["BIS, twin"] == pytest.approx(belief.truth, abs=1e-4)
    assert columns["stimulation, SD"] == pytest.approx(belief.of("offset")[1], abs=1e-4)
    assert columns["effect ke0"] == pytest.approx(belief.of("ke0")[0], abs=1e-4)
    rate = np.repeat(inside.seen.delivered[:, None, :1], 36, axis=1)
    bands = follower.predict(rate)
    assert columns["BIS in 1 min"] == pytest.approx(bands.truth[:, 11], abs=0.3)
    assert columns["BIS in 3 min, SD"] == pytest.approx(bands.truth_sd[:, 35], rel=0.05)


def test_every_rule_is_kept(id):
    how = SMALL[id] | {"observation": "belief", "max_episode_steps": 3}
    creator = load_env_creator(gymnasium.spec(id).entry_point)
    check_vector_env(
        lambda **mode: gymnasium.make_vec(id, **how, **mode), single=lambda: creator(**how), num_envs=2, steps=5
    )


def test_the_twin_may_believe_in_another_model():
    env = many(GLUCOSE, 2, twin="glucose_t1d_hovorka2004")
    env.reset(seed=0)
    assert env.unwrapped.believed.follow.model.id == "glucose_t1d_hovorka2004"
    assert any(f.name == "effect sit" for f in env.unwrapped.scale.features)
    assert np.isfinite(env.step(env.action_space.sample())[0]).all()
    statement = follow_propofol(load("propofol_eleveld2018"), 1.0)
    with pytest.raises(DoseloopError, match=r"Propofol-v0: twin: its interval is 1 min, the environment's 0\.083"):
        many(PROPOFOL, 1, twin=statement)
    with pytest.raises(DoseloopError, match="there are raw, belief"):
        many(PROPOFOL, 1, observation="all")
