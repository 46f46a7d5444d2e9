"""Runs of training that take a second."""

from dataclasses import replace

from doseloop.envs.sb3 import SB3VecEnv
from doseloop.policies.training.run import Run
from doseloop.policies.training.settings import Settings

GLUCOSE = "doseloop.envs:doseloop/Glucose-v0"
SB3 = {
    "ppo": {"n_steps": 6, "batch_size": 24},
    "recurrent_ppo": {"n_steps": 6, "batch_size": 24},
    "sac": {"buffer_size": 400, "learning_starts": 20, "batch_size": 16, "gradient_steps": 1},
    "tqc": {"buffer_size": 400, "learning_starts": 20, "batch_size": 16, "gradient_steps": 1},
}


def small(algorithm="ppo", **more):
    """Episodes of an hour, three rounds."""
    policy = {"net_arch": [8], "activation": "relu" if algorithm in ("sac", "tqc") else "tanh"}
    policy |= {"lstm_hidden_size": 8} if algorithm == "recurrent_ppo" else {}
    base = Settings(
        "glucose", algorithm, "doseloop/Glucose-v0", {"hours": 1.0, "patients": 20}, (-0.5, 0.0), 12, 3 * 12 * 8, 8,
        policy=policy, sb3=SB3[algorithm],
    )  # fmt: skip
    return replace(base, **more)


class Killed(Exception):  # noqa: N818 - it is no error
    """A kill, as far as a test in the same process can do it."""


def run(folder, chosen, stop=None, **how):
    """A run that is killed at its ``stop``-th step, or not."""
    seen = []

    def tell(what, values):
        seen.append(what)
        if stop is not None and seen.count("step") == stop:
            raise Killed

    return Run(chosen, 3, folder, SB3VecEnv, examined=9, tell=tell, **how)
