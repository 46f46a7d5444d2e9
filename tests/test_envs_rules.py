"""Every environment that is registered keeps every rule of the checker, with boxes, grids and histories."""

import gymnasium
import pytest
from doseloop.envs.checker import check_vector_env
from doseloop.envs.registration import IDS
from gymnasium.envs.registration import load_env_creator


@pytest.mark.parametrize("how", [{}, {"stack": 2, "grid": [0.0, 1.0]}], ids=["box", "grid, history"])
@pytest.mark.parametrize("id", IDS)
def test_every_rule_is_kept(id, how):
    spec = gymnasium.spec(id)
    how = {"patients": 20, "max_episode_steps": 5} | how
    check_vector_env(
        lambda **mode: gymnasium.make_vec(id, **how, **mode),
        single=lambda: load_env_creator(spec.entry_point)(**how),
        num_envs=3,
        steps=12,
    )
