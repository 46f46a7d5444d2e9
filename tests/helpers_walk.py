"""A small vector environment that keeps every rule of `envs.checker`, with a seam at each rule to break it there."""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


def noise(seeds, episodes, steps):
    """(n,) numbers from 0 to 1 of (seed, episode, step), mixed well enough for a walk."""
    return np.modf(np.abs(np.sin(12.9898 * seeds + 78.233 * episodes + 37.719 * steps + 1.0)) * 43758.5453)[0]


class Walk(VectorEnv):
    """Each lane walks by its action and some noise; an episode ends at the wall or after six steps."""

    def __init__(self, num_envs=1, autoreset_mode=AutoresetMode.NEXT_STEP):
        self.num_envs, self.mode = num_envs, AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.seeds = np.zeros(num_envs, dtype=np.int64)
        self.episode, self.elapsed = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        self.x, self.done, self.ready = np.zeros(num_envs), np.zeros(num_envs, dtype=bool), False

    # seams
    def observe(self):
        return np.column_stack([self.x, self.elapsed / 6]).astype(np.float32)

    def told(self):
        return {"place": self.x.copy(), "deep": {"elapsed": self.elapsed.copy()}}

    def begin(self, lanes):
        self.elapsed[lanes], self.done[lanes] = 0, False
        self.x[lanes] = noise(self.seeds[lanes], self.episode[lanes], self.elapsed[lanes]) - 0.5

    def seeded(self, seed):
        return [seed + k for k in range(self.num_envs)] if isinstance(seed, int) else seed

    def check(self, actions):
        if not self.ready:
            raise ValueError("reset first")
        if actions.shape != (self.num_envs, 1) or not np.isfinite(actions).all():
            raise ValueError(f"not an action: {actions}")
        if self.mode is AutoresetMode.DISABLED and self.done.any():
            raise ValueError("an episode is over")

    def move(self, actions):
        self.x += 0.2 * actions[:, 0] + 0.5 * (noise(self.seeds, self.episode, self.elapsed + 1) - 0.5)
        self.x = np.clip(self.x, -2, 2)

    def rewards(self):
        return -np.abs(self.x)

    def final(self, observations, info, done):
        last = np.full(self.num_envs, None, dtype=object)
        for k in np.flatnonzero(done):
            last[k] = observations[k].copy()
        return {"final_obs": last, "_final_obs": done.copy(), "final_info": info, "_final_info": done.copy()}

    # Gymnasium
    def reset(self, *, seed=None, options=None):
        mask = np.ones(self.num_envs, dtype=bool) if options is None else options["reset_mask"]
        self.episode[mask] += 1
        if seed is not None:
            self.seeds[:], self.episode[:] = self.seeded(seed), 0
        self.begin(mask)
        self.ready = True
        return self.observe(), self.told()

    def step(self, actions):
        self.check(actions)
        over = self.done.copy()
        self.move(actions)
        self.elapsed += 1
        terminated, truncated, rewards = (np.abs(self.x) > 0.8) & ~over, (self.elapsed >= 6) & ~over, self.rewards()
        if over.any():
            self.episode[over] += 1
            self.begin(over)
            rewards[over] = 0.0
        truncated &= ~terminated
        done = terminated | truncated
        observations, info = self.observe(), self.told()
        if self.mode is AutoresetMode.SAME_STEP:
            if done.any():
                final = self.final(observations, info, done)
                self.episode[done] += 1
                self.begin(done)
                observations, info = self.observe(), self.told() | final
        else:
            self.done = done
        return observations, rewards, terminated, truncated, info
