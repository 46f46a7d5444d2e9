"""The checker of vector environments: clean on what is right, and each rule finds the environment that breaks it."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.checker import check_vector_env, vector_env_faults
from doseloop.pkpd.errors import DoseloopError
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from helpers_walk import Walk


class Alone(gymnasium.Env):
    """The single environment of a walk."""

    def __init__(self, walk=Walk):
        self.walk = walk(1, AutoresetMode.DISABLED)
        self.observation_space, self.action_space = self.walk.single_observation_space, self.walk.single_action_space

    def reset(self, *, seed=None, options=None):
        return self.walk.reset(seed=seed)[0][0], {}

    def step(self, action):
        o, r, a, b, info = self.walk.step(np.asarray(action)[None])
        return o[0], r[0], a[0], b[0], {"place": info["place"][0], "deep": {"elapsed": info["deep"]["elapsed"][0]}}


def test_a_right_environment_passes():
    check_vector_env(Walk, single=Alone)


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_what_it_says_of_gymnasiums_own(id):
    """Only what is known of them: they move lanes before a bad action of a later one, or take NaN."""

    def make(num_envs, autoreset_mode):
        one = [lambda: gymnasium.make(id, max_episode_steps=7, disable_env_checker=True)] * num_envs
        return SyncVectorEnv(one, autoreset_mode=autoreset_mode)

    (fault,) = vector_env_faults(make)
    assert fault.startswith("refusals: ")


# one broken environment for each way to break a rule
# ---------------------------------------------------


class WrongMetadata(Walk):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.metadata = {"autoreset_mode": self.mode.value}


class WrongBatchSpace(Walk):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs + 1)


class OneLaneMore(Walk):
    def __init__(self, num_envs, autoreset_mode):
        super().__init__(num_envs + 1, autoreset_mode)


class OtherType(Walk):
    def observe(self):
        return super().observe().astype(np.float64)


class OutOfSpace(Walk):
    def observe(self):
        return (super().observe() * np.float32(3)).astype(np.float32)


class NotFinite(Walk):
    def observe(self):
        o = super().observe()
        o[o[:, 0] > 0.3, 0] = np.nan
        return o


class RewardColumn(Walk):
    def step(self, actions):
        o, r, *rest = super().step(actions)
        return o, r[:, None], *rest


class NotFiniteReward(Walk):
    def rewards(self):
        return np.where(self.x > 0.5, -np.inf, super().rewards())


class EndingsAreNumbers(Walk):
    def step(self, actions):
        o, r, a, b, info = super().step(actions)
        return o, r, a.astype(float), b, info


class FourThings(Walk):
    def step(self, actions):
        o, r, a, b, info = super().step(actions)
        return o, r, a | b, info


class InfoIsAList(Walk):
    def told(self):
        return {**super().told(), "list": [0.0] * self.num_envs}


class InfoOfOne(Walk):
    def told(self):
        return {**super().told(), "one": np.zeros(self.num_envs + 1)}


class MaskOfNumbers(Walk):
    def told(self):
        return {**super().told(), "_place": np.ones(self.num_envs)}


class OneBuffer(Walk):
    def observe(self):
        if not hasattr(self, "buffer"):
            self.buffer = super().observe()
        self.buffer[:] = super().observe()
        return self.buffer


class TwoBuffers(Walk):
    def observe(self):
        self.turn = not getattr(self, "turn", False)
        if not hasattr(self, "buffers"):
            self.buffers = [super().observe(), super().observe()]
        self.buffers[self.turn][:] = super().observe()
        return self.buffers[self.turn]


class StateInInfo(Walk):
    def told(self):
        return {**super().told(), "deep": {"elapsed": self.elapsed}}


class KeepsTheAction(Walk):
    def move(self, actions):
        super().move(self.last if hasattr(self, "last") else actions)
        self.last = actions


class SpoilsTheAction(Walk):
    def move(self, actions):
        actions *= 0.5
        super().move(actions)


class GlobalGenerator(Walk):
    def move(self, actions):
        super().move(actions)
        self.x = np.clip(self.x + 0.01 * np.random.rand(self.num_envs), -2, 2)  # noqa: NPY002


class DeafToSeeds(Walk):
    def seeded(self, seed):
        return [7] * self.num_envs


class OwnSeeds(Walk):
    def seeded(self, seed):
        return [s + int(np.random.default_rng().integers(99)) for s in super().seeded(seed)]


class Leftover(Walk):
    runs = 0

    def reset(self, **k):
        self.runs += 1
        _, info = super().reset(**k)
        self.x = np.clip(self.x + 0.01 * self.runs, -2, 2)
        return self.observe(), info


class FirstSeedForAll(Walk):
    def seeded(self, seed):
        return [super(FirstSeedForAll, self).seeded(seed)[0] + k for k in range(self.num_envs)]


class SameEpisodeAgain(Walk):
    def reset(self, *, seed=None, options=None):
        was = self.seeds.tolist() if options is None and self.ready and seed is None else seed
        return super().reset(seed=was, options=options)


class LanesMix(Walk):
    def move(self, actions):
        super().move(actions)
        self.x = np.clip(self.x + 0.01 * self.x.mean() * (self.num_envs > 1), -2, 2)


class AloneIsOther(Walk):
    def move(self, actions):
        super().move(1.1 * actions)


class RewardAtReset(Walk):
    def step(self, actions):
        over = self.done.copy()
        o, r, *rest = super().step(actions)
        return o, np.where(over, 1.0, r), *rest


class ActionAtReset(Walk):
    def step(self, actions):
        over = self.done.copy()
        result = super().step(actions)
        self.x[over] += 0.01 * actions[over, 0]
        return self.observe(), *result[1:]


class NeverEnds(Walk):
    def step(self, actions):
        self.elapsed[:] = -1
        self.x *= 0.1
        return super().step(actions)


class FinalInfoEverywhere(Walk):
    def told(self):
        return {**super().told(), "final_info": {}, "_final_info": np.zeros(self.num_envs, dtype=bool)}


class NoFinal(Walk):
    def final(self, *a):
        return {}


class NoFinalMask(Walk):
    def final(self, observations, info, done):
        return {k: v for k, v in super().final(observations, info, done).items() if k != "_final_obs"}


class FinalIsTheNext(Walk):
    def final(self, observations, info, done):
        return super().final(np.roll(observations, 1, axis=0), info, done)


class FinalInfoIsTheNext(Walk):
    def final(self, observations, info, done):
        return super().final(observations, {"place": info["place"] + 1, "deep": info["deep"]}, done)


class SkipsAnEpisode(Walk):
    def begin(self, lanes):
        self.episode[lanes] += self.mode is AutoresetMode.SAME_STEP and self.ready
        super().begin(lanes)


class StepsOnWhenOver(Walk):
    def check(self, actions):
        self.done[:] = self.done if self.mode is not AutoresetMode.DISABLED else False
        super().check(actions)


class DeafToMask(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class SpoilsTheMask(Walk):
    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        if options is not None:
            options["reset_mask"][:] = False
        return result


class TakesNaN(Walk):
    def check(self, actions):
        super().check(np.nan_to_num(actions, posinf=np.inf, neginf=-np.inf))

    def move(self, actions):
        super().move(np.nan_to_num(actions))


class TakesInfinity(Walk):
    def check(self, actions):
        super().check(np.nan_to_num(actions, nan=np.nan))

    def move(self, actions):
        super().move(np.clip(actions, -1, 1))


class WordlessRefusal(Walk):
    def check(self, actions):
        if not np.isfinite(actions).all():
            raise ValueError
        super().check(actions)


class MovesThenRefuses(Walk):
    def check(self, actions):
        if self.ready and not np.isfinite(actions).all():
            self.elapsed += 1
        super().check(actions)


class TakesTooFew(Walk):
    def step(self, actions):
        return super().step(np.resize(actions, (self.num_envs, 1)))


class StepsBeforeReset(Walk):
    def check(self, actions):
        self.ready = True
        super().check(actions)


class StaysOpen(Walk):
    closed = property(lambda self: False, lambda self, value: None)


class ClosesOnce(Walk):
    def close(self, **k):
        if self.closed:
            raise RuntimeError("closed already")
        super().close(**k)


class Falls(Walk):
    def told(self):
        raise KeyError("no infos today")


BROKEN = [
    (WrongMetadata, "spaces: metadata['autoreset_mode'] is"),
    (WrongBatchSpace, "spaces: observation_space is not the batch"),
    (OneLaneMore, "spaces: num_envs is 6; 5 was asked for"),
    (OtherType, "results: reset: observations are float64"),
    (OutOfSpace, "the observations are not in the space"),
    (NotFinite, "observations are not finite in lane"),
    (RewardColumn, "rewards is float64 of shape (5, 1)"),
    (NotFiniteReward, "rewards are not finite"),
    (EndingsAreNumbers, "terminated is float64"),
    (FourThings, "step returns five things"),
    (InfoIsAList, "info['list'] is list"),
    (InfoOfOne, "info['one'] is ndarray; an array with a row for each of 5 lanes"),
    (MaskOfNumbers, "info['_place'] is a mask and holds float64"),
    (OneBuffer, "changes the observation that"),
    (TwoBuffers, "changes the observation that"),
    (StateInInfo, "whoever writes into the info of one step"),
    (KeepsTheAction, "whoever writes into the action of one step"),
    (SpoilsTheAction, "writes into the action that it is given"),
    (GlobalGenerator, "draws from NumPy's global generator"),
    (DeafToSeeds, "another seed gives the same bits"),
    (OwnSeeds, "the same seed gives other bits in another environment"),
    (Leftover, "something is left over"),
    (FirstSeedForAll, "two lanes with the same seed and the same actions differ"),
    (SameEpisodeAgain, "reset() without a seed begins the same episodes again"),
    (LanesMix, "is not a batch of one with its seed"),
    (AloneIsOther, "is not the single environment with its seed"),
    (RewardAtReset, "the step that begins a lane's next episode has reward"),
    (ActionAtReset, "lives through something else than under NextStep"),
    (NeverEnds, "no episode ended within 14 steps"),
    (FinalInfoEverywhere, "there is a final_obs or final_info"),
    (NoFinal, "info has no 'final_obs'"),
    (NoFinalMask, "info has no 'final_obs'"),
    (FinalIsTheNext, "same step: lane"),
    (FinalInfoIsTheNext, "same step: lane"),
    (SkipsAnEpisode, "same step: lane"),
    (StepsOnWhenOver, "steps on in a lane whose episode is over"),
    (DeafToMask, "changes the observations of lanes outside the mask"),
    (SpoilsTheMask, "writes into the reset_mask"),
    (TakesNaN, "an action that is NaN is not refused"),
    (TakesInfinity, "an action that is infinite is not refused"),
    (WordlessRefusal, "an action that is NaN is not refused with a message"),
    (MovesThenRefuses, "is no longer where it was"),
    (TakesTooFew, "one of 4 lanes where 5 are"),
    (StepsBeforeReset, "step before reset is not refused"),
    (StaysOpen, "``closed`` is not True"),
    (ClosesOnce, "closing: raised RuntimeError: closed already"),
    (Falls, "raised KeyError: 'no infos today'"),
]


@pytest.mark.parametrize(("broken", "said"), BROKEN, ids=[b.__name__ for b, _ in BROKEN])
def test_a_broken_environment_is_found(broken, said):
    faults = vector_env_faults(broken, single=Alone, steps=14)
    assert [f for f in faults if said in f], faults


def test_all_faults_are_raised_at_once():
    with pytest.raises(DoseloopError) as e:
        check_vector_env(WrongMetadata, single=Alone)
    assert len(e.value.problems) == 3  # one for each mode
    assert list(e.value.problems) == vector_env_faults(WrongMetadata, single=Alone)
