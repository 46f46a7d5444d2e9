"""Attempts to cheat the rewards: what each brings on every environment, with the guard and without.

    python benchmarks/cheats.py [ids …] [--episodes 256] [--quick]

Mean returns and costs of episodes on the validation split (seeds 1000 on), with standard errors, and how many ended
early. The usual protocol and random actions stand beside them: an attempt that comes near the protocol is a fault of
the reward. Prints the Markdown tables of docs/training.md and saves results/cheats.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import doseloop.envs  # noqa: F401  (registers the ids)
import gymnasium
import numpy as np
from common import save
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.episodes import play, with_doses
from doseloop.policies.target_controlled import TargetControlled, Titration
from doseloop.policies.ward import UsualProtocol

SEED = 1000
# keywords; the usual protocol; decisions that count as early, and as late
PLAYED: dict[str, tuple[dict[str, Any], Callable[[Any], Any], int, int]] = {
    "doseloop/Glucose-v0": ({"action": "dose"}, lambda e: BasalBolus(), 12, 12),
    "doseloop/Propofol-v0": (
        {"action": "rate"},
        lambda e: TargetControlled(interval=e.world.interval, titration=Titration()),
        24,
        24,
    ),
    "doseloop/Vancomycin-v0": ({"action": "dose"}, lambda e: UsualProtocol(e.therapy), 2, 2),
    "doseloop/Phenobarbital-v0": ({"action": "dose"}, lambda e: UsualProtocol(e.therapy), 2, 2),
}
ATTEMPTS = {
    "usual": "usual protocol (for comparison)",
    "random": "random (for comparison)",
    "starve": "starve: nothing at all",
    "overdose": "overdose early, then nothing",
    "saturate": "saturate: most of everything",
    "beyond": "the same beyond the bounds (1e30)",
    "dither": "dither: all and nothing in turn",
    "dump": "wait and dump: nothing, then most at the end",
    "late": "usual, then most at the end",
}


class Attempt:
    """One attempt as `play` wants it."""

    def __init__(self, name: str, usual: Callable[[Any], Any], early: int, late: int) -> None:
        self.name, self.usual, self.early, self.late = name, usual, early, late

    def begin(self, env: Any) -> None:
        """Begin with the patients of the lanes."""
        self.t = -1
        env.action_space.seed(SEED)
        self.policy = with_doses(self.usual(env))
        self.policy.begin(env)

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """Actions."""
        self.t += 1
        t, shape, ending = self.t, env.action_space.shape, self.t >= env.horizon - self.late
        none, most = np.full(shape, -1.0), np.full(shape, 1.0)
        if self.name in ("usual", "late"):
            asked = self.policy(env, observations)
            return most if self.name == "late" and ending else asked
        choices = {
            "starve": none,
            "overdose": most if t < self.early else none,
            "saturate": most,
            "beyond": np.full(shape, 1e30),
            "dither": most if t % 2 == 0 else none,
            "dump": most if ending else none,
        }
        return choices[self.name] if self.name in choices else np.asarray(env.action_space.sample())


def tried(id: str, name: str, guard: bool, n: int) -> dict[str, float]:
    """One attempt: return, cost (each with its standard error), share that ended early."""
    how, usual, early, late = PLAYED[id]
    env = gymnasium.make_vec(id, num_envs=n, split="validation", guard=guard, **how)
    e = play(env, Attempt(name, usual, early, late), SEED)
    return {
        "return": float(e.reward.mean()),
        "return se": float(e.reward.std() / np.sqrt(n)),
        "cost": float(e.cost.mean()),
        "cost se": float(e.cost.std() / np.sqrt(n)),
        "ended": int(e.ended.sum()),
    }


def table(rows: dict[str, Any]) -> list[str]:
    """Markdown."""

    def cell(r: dict[str, float]) -> str:
        ended = f", {r['ended']} ended" if r["ended"] else ""
        return f"{r['return']:.3g} ± {r['return se']:.2g} (cost {r['cost']:.3g}{ended})"

    lines = ["| attempt | guard on | guard off |", "|---|---|---|"]
    return lines + [f"| {ATTEMPTS[k]} | {cell(v['on'])} | {cell(v['off'])} |" for k, v in rows.items()]


def main() -> None:
    """Play all and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help="parts of ids; default all")
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    args = parser.parse_args()
    out: dict[str, Any] = {"episodes": args.episodes, "seed": SEED, "split": "validation"}
    for id in PLAYED:
        if args.which and not any(w in id for w in args.which):
            continue
        out[id] = {
            k: {word: tried(id, k, guard, args.episodes) for word, guard in (("on", True), ("off", False))}
            for k in ATTEMPTS
        }
        print(f"\n{id}\n")
        print("\n".join(table(out[id])), flush=True)
    if not args.quick and not args.which:
        save("cheats", out)


if __name__ == "__main__":
    main()
