"""Stable-Baselines3's PPO on a peer's environment, in the peer's process: how many decisions a second it makes.

The peer's own packages come first; SB3 and PyTorch are those of our environment (``ours.txt`` in the folder names its
site-packages), as a second copy of PyTorch would be hundreds of megabytes for the same code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepping import children_too
from worker import serve


def makers(folder: Path) -> dict[str, Callable[[], Any]]:
    """The environments of this process's peer."""
    peer = (folder / "peer.txt").read_text(encoding="utf-8")
    if peer == "simglucose":
        import simglucose_envs as found
    else:
        import gymsims_envs as found  # type: ignore[no-redef]
    return dict(found.stepping().single)


def start(folder: Path) -> Callable[[dict[str, Any]], Any]:
    """``run({"env", "n", "n_steps", "batch", "epochs"})``: a rollout of n copies and its updates; decisions made."""
    single = makers(folder)
    sys.path.append((folder / "ours.txt").read_text(encoding="utf-8"))
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    held: dict[str, Any] = {}

    def run(job: dict[str, Any]) -> list[int]:
        name, n = job["env"], job["n"]
        if name not in held:
            how = {"n_steps": job["n_steps"], "batch_size": job["batch"], "n_epochs": job["epochs"]}
            held[name] = PPO("MlpPolicy", DummyVecEnv([single[name]] * n), seed=0, device="cpu", **how)
        held[name].learn(n * job["n_steps"], reset_num_timesteps=False)
        return [n * job["n_steps"]]

    return run


if __name__ == "__main__":
    serve(start, "gymnasium", "numpy", clock=children_too)
