"""Pictures and texts of episodes: they show what happened in this episode, of each lane, and change nothing."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.film import CHARTS, ansi
from doseloop.envs.registration import IDS
from doseloop.pkpd.errors import DoseloopError
from gymnasium.utils.env_checker import check_env

HOW = {"patients": 20, "max_episode_steps": 4}


def many(id, n, **how):
    return gymnasium.make_vec(id, num_envs=n, **HOW | how)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_check_env_with_pictures(id, mode):
    env = gymnasium.make(id, patients=20, render_mode=mode).unwrapped
    assert env.metadata["render_modes"] == ["rgb_array", "ansi"]
    check_env(env)


@pytest.mark.parametrize("id", IDS)
def test_pictures(id):
    env = many(id, 2, render_mode="rgb_array")
    with pytest.raises(DoseloopError, match="reset first"):
        env.render()
    env.reset(seed=4)
    first = env.render()
    env.step(np.stack([env.action_space.low[0], 0.6 * env.action_space.low[1]]))  # none in one lane, some in the other
    then = env.render()
    for a, b in zip(first, then):
        assert a.shape == (520, 840, 3)
        assert a.dtype == np.uint8
        assert not np.array_equal(a, b)
    assert all(np.array_equal(a, b) for a, b in zip(then, env.render()))
    assert not np.array_equal(*then)
    assert many(id, 2).render() is None


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_the_course_is_that_of_the_episode(id, mode):
    env, plain = many(id, 3, render_mode="ansi", autoreset_mode=mode), many(id, 3, autoreset_mode=mode)
    a, _ = env.reset(seed=9)
    b, _ = plain.reset(seed=9)
    assert np.array_equal(a, b)
    world, total, length = env.unwrapped.world, np.zeros(3), np.zeros(3, dtype=int)
    began = world.outputs[world.truth_name]
    truth = [[v] for v in began]
    for _ in range(7):
        action = plain.action_space.sample()
        over = env.unwrapped._done.copy()
        a, reward, terminated, truncated, _ = env.step(action)
        assert np.array_equal(a, plain.step(action)[0])
        done = terminated | truncated
        fresh = over if mode == "NextStep" else done
        total, length = np.where(fresh, 0, total + reward), np.where(fresh, 0, length + 1)
        for k in range(3):
            start = world.outputs[world.truth_name][k]
            truth[k] = [start] if fresh[k] else [*truth[k], *world.truth[k]]
            course = env.unwrapped._film.course(k)
            assert course.truth.tolist() == truth[k]
            assert len(course.given) == length[k]
            assert course.time.size == course.truth.size
            assert np.all(np.diff(course.time) > 0)
            assert course.now() == pytest.approx(length[k] * world.interval * CHARTS[id].per)
            assert course.total == pytest.approx(total[k])


@pytest.mark.parametrize("id", IDS)
def test_the_text(id):
    env = gymnasium.make(id, patients=20, render_mode="ansi")
    env.reset(seed=4)
    env.render()
    *_, info = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
    text, film = env.render(), env.unwrapped.vector._film
    c = film.course(0)
    assert text == ansi(CHARTS[id], c)
    assert text.splitlines()[0].startswith(CHARTS[id].title)
    assert f"{c.truth[-1]:.3g}" in text
    assert f"cost {info['cost']:.2f}" in text
    assert all(g.name in text for g in CHARTS[id].given)


def test_vancomycins_band_is_one_of_exposure():
    """Each whole day's AUC24 is told, and what lies outside 400 to 600 is the exposure, not the level."""
    id = "doseloop/Vancomycin-v0"
    env = gymnasium.make_vec(id, num_envs=1, patients=20, render_mode="ansi")
    env.reset(seed=4)
    world, areas = env.unwrapped.world, []
    for _ in range(5):
        env.step(np.full((1, 1), -0.5, dtype=np.float32))
        areas.append(world.exposure.sum())
    course, chart = env.unwrapped._film.course(0), CHARTS[id]
    assert course.area == pytest.approx([2 * areas[0], *areas[1:]])  # the first half day, scaled to a day
    assert course.days() == [(1.0, pytest.approx(areas[1])), (2.0, pytest.approx(areas[3]))]
    outside = [not 400 <= a <= 600 for a in course.area]
    assert len(set(outside)) == 2  # some of each: or nothing is tested
    assert course.outside(chart)[1:].reshape(5, -1).all(axis=1).tolist() == outside
    assert course.inside(chart) == pytest.approx(100 * (1 - np.mean(outside)))
    assert f"AUC24     {areas[1]:.0f} on day 1, {areas[3]:.0f} on day 2" in env.render()[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_record_video(tmp_path):
    env = gymnasium.make(next(iter(IDS)), patients=20, hours=1, render_mode="rgb_array")
    folder = tmp_path / "films"
    film = gymnasium.wrappers.RecordVideo(env, str(folder), episode_trigger=lambda e: True, disable_logger=True)
    film.reset(seed=1)
    over = False
    while not over:
        _, _, terminated, truncated, _ = film.step(film.action_space.sample())
        over = terminated or truncated
    film.close()
    (video,) = folder.glob("*.mp4")
    assert video.stat().st_size > 5_000
