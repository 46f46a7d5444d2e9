"""The rules that `envs.checker` holds a vector environment to: each yields a sentence for every way it is broken."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, create_empty_array

from .checker import Case, Event, batch, corner, lane_of, leaves, same

__all__ = ["RULES"]

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
PARTS = ("observation", "reward", "terminated", "truncated", "info")
KEPT = 3  # steps whose results are looked at again: a buffer that two steps share in turn is found


def _spaces(case: Case) -> Iterator[str]:
    for mode in (NEXT, SAME, DISABLED):
        env = case.env(mode)
        told = env.metadata.get("autoreset_mode")
        if not (isinstance(told, AutoresetMode) and told is mode):
            yield f"metadata['autoreset_mode'] is {told!r}; made with {mode}, it should be that member of AutoresetMode"
    if env.num_envs != case.n:
        yield f"num_envs is {env.num_envs}; {case.n} was asked for"
    for what in ("observation", "action"):
        one, many = getattr(env, f"single_{what}_space"), getattr(env, f"{what}_space")
        if many != batch_space(one, case.n):
            yield f"{what}_space is not the batch of {case.n} single_{what}_spaces"


def _results(case: Case) -> Iterator[str]:
    """Shapes, types, and that everything is finite and in its space, under any stream of actions."""
    for mode in (NEXT, SAME):
        env = case.env(mode)
        for name, stream in _streams(case, env).items():
            observations, info = env.reset(seed=case.seed)
            found = [f"reset: {f}" for f in (*_seen(env, observations), *_told(info, case.n))]
            for t in range(case.steps):
                result = env.step(stream(t))
                found += [f"{name} actions, {mode.value}: {f}" for f in _fits(env, result, case.n)]
                if found:
                    break
            yield from found
            if found:
                break


def _streams(case: Case, env: Any) -> dict[str, Callable[[int], Any]]:
    """Actions by number of the step, under which everything must hold."""
    low, high = (batch(env, [corner(env.single_action_space, end)] * case.n) for end in (False, True))
    env.action_space.seed(case.seed)
    return {
        "lowest": lambda t: low,
        "highest": lambda t: high,
        "lowest and highest in turn": lambda t: (low, high)[t % 2],
        "random": lambda t: env.action_space.sample(),
    }


def _fits(env: Any, result: Any, n: int) -> Iterator[str]:
    if not (isinstance(result, tuple) and len(result) == 5):
        yield "step returns five things: observations, rewards, terminated, truncated, info"
        return
    observations, rewards, terminated, truncated, info = result
    yield from _seen(env, observations)
    for what, row, kind in (("rewards", rewards, "f"), ("terminated", terminated, "b"), ("truncated", truncated, "b")):
        if not (isinstance(row, np.ndarray) and row.shape == (n,) and row.dtype.kind == kind):
            about = f"{row.dtype} of shape {row.shape}" if isinstance(row, np.ndarray) else type(row).__name__
            yield f"{what} is {about}; ({n},) {'real numbers' if kind == 'f' else 'booleans'} are meant"
        elif kind == "f" and not np.isfinite(row).all():
            yield f"rewards are not finite: {row.tolist()}"
    yield from _told(info, n)


def _seen(env: Any, observations: Any) -> Iterator[str]:
    wanted = create_empty_array(env.single_observation_space, n=env.num_envs, fn=np.zeros)
    for (path, a), (_, b) in zip(leaves(observations), leaves(wanted)):
        if a.shape != b.shape or a.dtype != b.dtype:
            yield f"observations{path} are {a.dtype} of shape {a.shape}; the space has {b.dtype} of shape {b.shape}"
            return
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            yield f"observations{path} are not finite in lane {int(np.argwhere(~np.isfinite(a))[0][0])}"
            return
    if not env.observation_space.contains(observations):
        yield f"the observations are not in the space: {observations!r}"


def _told(info: Any, n: int, where: str = "info") -> Iterator[str]:
    if not isinstance(info, dict):
        yield f"{where} is {type(info).__name__}; a dict is meant"
        return
    for key, value in info.items():
        if isinstance(value, dict):
            yield from _told(value, n, f"{where}[{key!r}]")
        elif not (isinstance(value, np.ndarray) and value.shape[:1] == (n,)):
            yield f"{where}[{key!r}] is {type(value).__name__}; an array with a row for each of {n} lanes is meant"
        elif key.startswith("_") and value.dtype != np.bool_:
            yield f"{where}[{key!r}] is a mask and holds {value.dtype}; booleans are meant"


def _sharing(case: Case) -> Iterator[str]:
    """What was returned stays as it was, and is the caller's to write into; so is the action."""
    for part in (*PARTS, "action"):
        spoilt, clean = case.env(), case.env()
        held: list[tuple[int, Any, Any]] = []
        for env in (spoilt, clean):
            env.action_space.seed(case.seed)
        before = spoilt.reset(seed=case.seed), clean.reset(seed=case.seed)
        _spoil(before[0][0 if part == "observation" else 1]) if part in ("observation", "info") else None
        held.append((0, before[1], copy.deepcopy(before[1])))
        found = ""
        for t in range(1, case.steps + 1):
            action = clean.action_space.sample()
            theirs, kept = copy.deepcopy(action), copy.deepcopy(action)
            a, b = spoilt.step(theirs), clean.step(action)
            if not same(action, kept):
                found = f"step {t} writes into the action that it is given"
            elif not same(a, b):
                found = (
                    f"whoever writes into the {part} of one step changes what a later one returns (seen at step {t})"
                )
            for when, live, was in held:
                found = found or _changed(live, was, when, t)
            if found:
                break
            _spoil(theirs if part == "action" else a[PARTS.index(part)])
            held = [*held, (t, b, copy.deepcopy(b))][-KEPT:]
        if found:
            yield found


def _changed(live: Any, was: Any, when: int, now: int) -> str:
    for name, a, b in zip(PARTS if len(live) == 5 else ("observation", "info"), live, was):
        if not same(a, b):
            return f"step {now} changes the {name} that {f'step {when}' if when else 'reset'} returned"
    return ""


def _spoil(value: Any) -> None:
    for _, a in leaves(value):
        if a.dtype == object or not a.flags.writeable:
            continue
        a[...] = ~a if a.dtype == np.bool_ else 77


def _seeds(case: Case) -> Iterator[str]:
    env = case.env()
    seeds = [case.seed + k for k in range(case.n)]
    state: Any = np.random.get_state()  # noqa: NPY002 - to see that nobody draws from it
    first = _rollout(case, env, case.seed)
    if not same(state, np.random.get_state()):  # noqa: NPY002
        yield "draws from NumPy's global generator"
    if not same(first, _rollout(case, case.env(), case.seed)):
        yield "the same seed gives other bits in another environment"
    if not same(first, _rollout(case, env, case.seed)):
        yield "the same seed gives other bits after a first run: something is left over"
    if not same(first, _rollout(case, env, seeds)):
        yield f"reset(seed={case.seed}) is not reset(seed={seeds})"
    if same(first, _rollout(case, env, case.seed + 1000)):
        yield "another seed gives the same bits"
    env.reset(seed=case.seed)
    if same(first, _rollout(case, env, None)):
        yield "reset() without a seed begins the same episodes again"
    lane, again = (
        [_lane(r, k) for r in _rollout(case, env, [case.seed] * case.n, alike=True)] for k in (0, case.n - 1)
    )
    if not same(lane, again):
        yield "two lanes with the same seed and the same actions differ"


def _lane(result: Any, k: int) -> Any:
    observations, *rows = result
    return [[a[k] for _, a in leaves(observations)], *(lane_of(r, k) if isinstance(r, dict) else r[k] for r in rows)]


def _rollout(case: Case, env: Any, seed: Any, alike: bool = False) -> list[Any]:
    results: list[Any] = [copy.deepcopy(env.reset(seed=seed))]
    scripts = [case.script(env, 0 if alike else k) for k in range(case.n)]
    for t in range(min(case.steps, 8)):
        results.append(copy.deepcopy(env.step(batch(env, [s[t] for s in scripts]))))
    return results


def _lanes(case: Case) -> Iterator[str]:
    """A lane does not depend on the batch it stands in, nor on whether it is a batch."""
    lives = case.lives(NEXT)
    for k in dict.fromkeys((0, case.n // 2, case.n - 1)):
        if fault := _differ(lives[k], case.lives(NEXT, 1, first=k)[0]):
            yield f"lane {k} of {case.n} is not a batch of one with its seed: {fault}"
        if case.single is not None and (fault := _differ(lives[k], case.life_alone(k))):
            yield f"lane {k} of {case.n} is not the single environment with its seed: {fault}"


def _differ(a: list[Event], b: list[Event]) -> str:
    """The first difference of two lives, as far as both go."""
    for i, (x, y) in enumerate(zip(a, b)):
        if x.kind != y.kind:
            return f"event {i} is a {x.kind} in one and a {y.kind} in the other"
        for what, p, q in zip(PARTS, x.result, y.result):
            if not same(p, q):
                return f"event {i} ({x.kind}): {what} {p!r} in one, {q!r} in the other"
    return ""


def _next_step(case: Case) -> Iterator[str]:
    env, ended = case.env(NEXT), False
    scripts = [case.script(env, k) for k in range(case.n)]
    env.reset(seed=case.seed)
    over = np.zeros(case.n, dtype=bool)
    for t in range(case.steps):
        _, rewards, terminated, truncated, info = env.step(batch(env, [s[t] for s in scripts]))
        for what, row in (("reward", rewards), ("terminated", terminated), ("truncated", truncated)):
            if np.any(np.asarray(row)[over]):
                yield f"the step that begins a lane's next episode has {what} {np.asarray(row)[over].tolist()}, not 0"
                return
        if "final_obs" in info or "final_info" in info:
            yield "there is a final_obs or final_info; with NextStep the last step's own are those"
            return
        over = np.asarray(terminated) | np.asarray(truncated)
        ended |= bool(over.any())
    if not ended:
        yield f"no episode ended within {case.steps} steps: autoreset cannot be looked at; make shorter episodes"


def _same_step(case: Case) -> Iterator[str]:
    env = case.env(SAME)
    scripts = [case.script(env, k) for k in range(case.n)]
    env.reset(seed=case.seed)
    for t in range(case.steps):
        _, _, terminated, truncated, info = env.step(batch(env, [s[t] for s in scripts]))
        done = np.asarray(terminated) | np.asarray(truncated)
        for key in ("final_obs", "final_info"):
            if not done.any() and np.any(info.get(f"_{key}", False)):
                yield f"info['_{key}'] marks lanes at a step at which no episode ended"
                return
            if done.any() and (key not in info or not same(info.get(f"_{key}"), done)):
                yield f"an episode ended, and info has no '{key}' with its mask '_{key}' of the lanes that ended"
                return
        for k in np.flatnonzero(done):
            if not env.single_observation_space.contains(info["final_obs"][k]):
                yield f"final_obs of lane {k} is {info['final_obs'][k]!r}, which is no observation"
                return
    yield from _modes(case, SAME)


def _modes(case: Case, mode: AutoresetMode) -> Iterator[str]:
    """Which mode it is changes when an episode begins, and nothing else."""
    for k, (a, b) in enumerate(zip(case.lives(mode), case.lives(NEXT))):
        if fault := _differ(a, b):
            yield f"lane {k} lives through something else than under NextStep: {fault}"
            return


def _disabled(case: Case) -> Iterator[str]:
    env = case.env(DISABLED)
    scripts = [case.script(env, k) for k in range(case.n)]
    env.reset(seed=case.seed)
    for t in range(case.steps):
        observations, _, terminated, truncated, _ = env.step(batch(env, [s[t] for s in scripts]))
        if (np.asarray(terminated) | np.asarray(truncated)).any():
            if not _refused(lambda: env.step(batch(env, [s[0] for s in scripts]))):
                yield "steps on in a lane whose episode is over, where nothing resets it"
            break
    env.reset(seed=case.seed)
    seen = copy.deepcopy(env.step(batch(env, [s[0] for s in scripts]))[0])
    mask = np.arange(case.n) % 2 == 0
    given = mask.copy()
    observations, _ = env.reset(options={"reset_mask": given})
    if not same(given, mask):
        yield "reset writes into the reset_mask that it is given"
    rows = [(a[~mask], b[~mask]) for (_, a), (_, b) in zip(leaves(observations), leaves(seen))]
    if not all(same(a, b) for a, b in rows):
        yield "reset with a reset_mask changes the observations of lanes outside the mask"
    yield from _modes(case, DISABLED)


def _refused(do: Callable[[], Any]) -> str:
    """What an error says; empty where there was none, or one without a word."""
    try:
        do()
    except Exception as e:  # which error it is, is the environment's own business
        return str(e).strip()
    return ""


def _refusals(case: Case) -> Iterator[str]:
    env, clean = case.env(), case.env()
    good = batch(env, [case.script(env, k)[3] for k in range(case.n)])
    if not _refused(lambda: env.step(copy.deepcopy(good))):
        yield "step before reset is not refused with a message"
    for e in (env, clean):
        e.reset(seed=case.seed)
    for what, bad in _bad_actions(env.single_action_space, good, case.n):
        if not _refused(lambda: env.step(bad)):  # noqa: B023
            yield f"an action that is {what} is not refused with a message"
            return  # the environments have parted
        if not same(env.step(copy.deepcopy(good)), clean.step(copy.deepcopy(good))):
            yield f"after an action that was {what} and was refused, the environment is no longer where it was"
            return


def _bad_actions(space: spaces.Space, good: Any, n: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(good, np.ndarray):
        return
    if isinstance(space, spaces.Box) and good.dtype.kind == "f":
        for what, value in (("NaN", np.nan), ("infinite", np.inf), ("minus infinite", -np.inf)):
            bad = good.copy()
            bad.reshape(n, -1)[n - 1, -1] = value
            yield what, bad
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        for what, shift in (("above the last", 1), ("below the first", -1)):
            bad = good.copy()
            bad[n - 1] = corner(space, shift > 0) + shift
            yield what, bad
    yield f"one of {n - 1} lanes where {n} are", good[:-1].copy()


def _closing(case: Case) -> Iterator[str]:
    env = case.env()
    env.reset(seed=case.seed)
    env.close()
    if not getattr(env, "closed", False):
        yield "after close, ``closed`` is not True"
    env.close()


RULES: dict[str, Callable[[Case], Iterator[str]]] = {
    "spaces": _spaces,
    "results": _results,
    "sharing": _sharing,
    "seeds": _seeds,
    "lanes": _lanes,
    "next step": _next_step,
    "same step": _same_step,
    "disabled": _disabled,
    "refusals": _refusals,
    "closing": _closing,
}
"""By name, in the order in which they are run."""
