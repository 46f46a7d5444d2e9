"""The ids: each a pair of entry points, for one patient and for many. Importing `doseloop.envs` registers them.

To add one, add a line to `IDS`: the module of this room, the class for one patient, the vector class.

The specs carry no ``max_episode_steps``: the environments end their episodes themselves, at the length they were made
with, and a `TimeLimit` around the single one would not know of another length. `gymnasium.make` with
``max_episode_steps`` puts such a limit around it and keeps the number from the environment (Gymnasium leaves no way to
learn it: a spec with a vector entry point may name no wrappers). It cuts an episode without what its end costs: name
the length by ``hours``, ``minutes`` or ``days`` there.
"""

from __future__ import annotations

import gymnasium

__all__ = ["IDS", "register"]

IDS = {
    "doseloop/Glucose-v0": ("glucose", "GlucoseEnv", "GlucoseVectorEnv"),
    "doseloop/Phenobarbital-v0": ("phenobarbital", "PhenobarbitalEnv", "PhenobarbitalVectorEnv"),
    "doseloop/Propofol-v0": ("propofol", "PropofolEnv", "PropofolVectorEnv"),
    "doseloop/Vancomycin-v0": ("vancomycin", "VancomycinEnv", "VancomycinVectorEnv"),
}


def register() -> None:
    """Register every id with Gymnasium."""
    for id, (module, single, vector) in IDS.items():
        if id not in gymnasium.registry:
            where = f"{__package__}.{module}"
            gymnasium.register(id, entry_point=f"{where}:{single}", vector_entry_point=f"{where}:{vector}")
