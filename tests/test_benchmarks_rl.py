"""The benchmarks of environments and training: what counts as a step, whose time is whose, when a score is reached."""

import multiprocessing
import time

import gymnasium
import numpy as np
import pytest
from helpers_benchmarks import benchmarks_imported


@pytest.fixture(scope="module")
def scripts():
    with benchmarks_imported("envs", "frame", "stepping", "to_score", "training") as found:
        yield found


class Toy(gymnasium.Env):
    """Ends after ``seed + 2`` steps; the reward is the action."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))
    begun = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = seed + 2 if seed is not None else 2
        self.elapsed, Toy.begun = 0, Toy.begun + 1
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.elapsed += 1
        return np.zeros(1, np.float32), float(action[0]), self.elapsed >= self.length, False, {}


def test_a_single_environment_begins_anew_where_it_ends(scripts):
    steps = scripts["stepping"].Stepping({"toy": Toy})
    Toy.begun = 0
    assert steps({"env": "toy", "how": "single", "n": 1, "steps": 8, "action": [0.5]}).tolist() == [0.5]
    assert Toy.begun == 1 + 1 + 2  # at first; after 3 steps, then after 2 each
    env, _ = steps.opened({"env": "toy", "how": "single", "n": 1, "action": [0.5]})
    assert steps.opened({"env": "toy", "how": "single", "n": 1, "action": [0.5]})[0] is env
    assert steps.opened({"env": "toy", "how": "single", "n": 1, "action": [0.6]})[0] is not env


def test_a_course_is_the_first_episode_of_each_lane(scripts):
    steps = scripts["stepping"].Stepping({"toy": Toy})
    job = {"env": "toy", "steps": 6, "action": [0.5], "course": True}
    single = steps({**job, "how": "single", "n": 1})
    assert single[:, :, 0].tolist() == [[0.5] * 3 + [0.0] * 3]  # seed 1: three steps
    many = steps({**job, "how": "sync", "n": 3})
    assert (many[:, :, 0] > 0).sum(axis=1).tolist() == [3, 4, 5]
    assert many[0].tolist() == single[0].tolist()


def test_random_actions_are_the_same_each_time_and_drawn_beforehand(scripts):
    job = {"env": "toy", "how": "sync", "n": 2, "action": "random"}
    (_, a), (_, b) = (scripts["stepping"].Stepping({"toy": Toy}).opened(job) for _ in range(2))
    first = [next(a) for _ in range(51)]
    assert all((x == next(b)).all() for x in first)
    assert first[50] is first[0]
    assert first[0].tolist() != first[1].tolist()


def _busy(started, stop):
    started.set()
    while not stop.is_set():
        pass


def test_processor_time_of_workers_counts_too(scripts):
    spawn = multiprocessing.get_context("fork")
    started, stop = spawn.Event(), spawn.Event()
    child = spawn.Process(target=_busy, args=(started, stop), daemon=True)
    children_too = scripts["stepping"].children_too
    before, own = children_too(), time.process_time()
    child.start()
    started.wait(10)
    deadline = time.monotonic() + 20
    while children_too() - before < 0.2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children_too() - before >= 0.2 > time.process_time() - own
    stop.set()
    child.join()


def test_a_part_s_time_is_without_that_of_the_parts_inside(scripts):
    clock = scripts["training"].Clock(now=lambda: now[0])
    now = [0.0]

    def spend(seconds, *calls):
        now[0] += seconds
        for call in calls:
            call()

    step = clock.timed("environment", lambda: spend(3.0))
    bridge = clock.timed("bridge", lambda: spend(1.0, step, step))
    clock.timed("bookkeeping", lambda: spend(0.5, bridge, clock.timed("network", lambda: spend(2.0))))()
    spent = clock.taken()
    told = {k: v for k, v in spent.items() if v}
    assert told == {"environment": 6.0, "bridge": 1.0, "network": 2.0, "bookkeeping": 0.5}
    with pytest.raises(ZeroDivisionError):
        clock.timed("backward", lambda: spend(1.0, lambda: 1 / 0))()
    step()
    assert {k: v for k, v in clock.taken().items() if v} == {"backward": 1.0, "environment": 3.0}


def curve(*scores):
    return [
        {"decisions": 100.0 * k, "score": s, "wall": 1.0 * k, "cpu": 2.0 * k, "wall with examinations": 3.0 * k}
        for k, s in enumerate(scores)
    ]


def test_a_score_is_reached_at_the_first_examination_that_passes(scripts):
    to_score = scripts["to_score"]
    assert to_score.crossing(curve(-9.0, -5.0, -6.0, -4.0), -5.0)["decisions"] == 100.0
    assert to_score.crossing(curve(-9.0, -5.0), -4.0) is None
    goal = {"usual": -5.0, "halfway": -3.0, "near": -2.0, "mpc": -1.0}
    first, second, third = to_score.lines_of(
        "x", [curve(-9.0, -5.0, -2.0), curve(-9.0, -6.0, -4.0), curve(-9.0, -9.0)], goal
    )
    assert (first["reached"], first["seeds"]) == (2, 3)
    assert first["decisions"]["median"] == 150.0
    assert first["cpu ms"]["median"] == 3000.0
    assert second["reached"] == 1
    assert second["wall"]["median"] == 2.0
    assert third["wall"] == second["wall"]
    _, never, _ = to_score.lines_of("x", [curve(-9.0, -4.0, -4.5)], goal)
    assert "cpu ms" not in never
    assert never["failed"] == "not within 200 decisions: -4.00 at best"
    before, _, _ = to_score.lines_of("x", [curve(-4.9, -4.0), curve(-4.8, -4.5)], goal)
    assert before["failed"] == "before learning: -4.85"


def test_examinations_are_not_learning(scripts):
    row = scripts["to_score"].point(500, -1.234567, (10.0, 1.0), (18.0, 5.0), (3.0, 2.0))
    assert (row["wall"], row["cpu"], row["wall with examinations"], row["score"]) == (5.0, 2.0, 8.0, -1.23457)


def test_a_ratio_is_of_the_same_simulated_time_and_of_the_same_model(scripts):
    envs, Times = scripts["envs"], scripts["frame"].Times
    mine = Times(cpu=[1.0, 1.0], wall=[1.0, 1.0])
    other = Times(cpu=[6.0, 6.0], wall=[6.0, 12.0])
    way = envs.Way("glucose: simglucose", "simglucose", {}, 1, 3.0, 10)
    line = envs.line_of(way, other, mine, 5.0, 1e-7)
    assert line["ratio"]["median"] == pytest.approx(10.0)
    assert line["steps per second"]["processor"] == pytest.approx(1e3 / 6)
    assert line["simulated hours per second"] == pytest.approx(1e3 / 6 / 20)
    assert "outputs differ" in envs.line_of(way, other, mine, 5.0, 1e-2)["ratio"]["refused"]
    assert envs.line_of(way, other, mine, 5.0, None)["ratio"] == {"refused": "another model"}
    assert "ratio" not in envs.line_of(envs.Way("glucose: native", "doseloop", {}, 8, 5.0, 10), mine, mine, 5.0, 0.0)
    part = envs.Way("glucose: part: world, 8 lanes", "doseloop", {}, 8, 5.0, 10)
    assert "ratio" not in envs.line_of(part, other, mine, 5.0, 0.0)


def test_every_way_is_counted_in_steps_of_a_patient(scripts):
    envs = scripts["envs"]
    for name, task in envs.TASKS.items():
        ways = {w.name.partition(": ")[2]: w for w in envs.ways_of(name, envs.SIZES)}
        assert len(ways) == len(envs.ways_of(name, envs.SIZES))
        assert ways["native, 1,024 lanes"].units == 1024 * task.steps
        assert ways["gymnasium.make"].units == task.steps
        assert ways["part: world, 1,024 lanes"].units == 1024 * 40
        assert {w.side for w in ways.values()} <= set(envs.BY)


def test_the_lengths_are_those_of_the_environments(scripts):
    for name, task in scripts["envs"].TASKS.items():
        env = gymnasium.make_vec(f"doseloop.envs:doseloop/{name.capitalize()}-v0", num_envs=1).unwrapped
        hours = {"vancomycin": 60.0, "phenobarbital": 60.0}.get(name, 1.0)  # a ward's interval is in hours
        assert env.horizon == task.steps
        assert env.world.interval * hours == pytest.approx(task.minutes)
