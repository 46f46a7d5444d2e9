"""The networks that ship, on the test split: returns and clinical scores beside the usual protocol's, same patients.

300 episodes, lane k with seed 20,000 + k. Differences from the usual protocol are paired; intervals
are 95 %, bootstrap over episodes. The time of a decision is of one patient alone, called from Python.

    .venv/bin/python benchmarks/trained.py [--patients 300] [--only NAME]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from common import RESULTS, save
from doseloop.policies import network
from doseloop.policies.episodes import Episodes, play
from doseloop.policies.evaluation.arms import arm
from doseloop.policies.evaluation.clinical import SHOWN, clinical_scores
from doseloop.policies.evaluation.contestants import INTERFACE, contestants
from doseloop.policies.evaluation.statistics import bootstrap


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean with its 95 % bootstrap interval."""
    e = bootstrap(values)
    return {"mean": e.value, "low": e.low, "high": e.high}


def usual(id: str, how: Mapping[str, Any], n: int, seed: int) -> tuple[Episodes, Any]:
    """The usual protocol on the same patients; what surrounds them is the network's, the levers are the doses."""
    surroundings = {k: v for k, v in how.items() if k not in INTERFACE}
    (protocol,) = contestants(id, ["usual"])
    env: Any = gymnasium.make_vec(
        f"doseloop.envs:{id}", num_envs=n, split="test", patients=n, **surroundings, **protocol.keywords
    )
    return play(env, protocol.make(env.unwrapped, arm(id, "nominal")), seed), env.unwrapped


def row(played: Episodes, env: Any, id: str) -> dict[str, Any]:
    """Return, cost, ended and clinical scores."""
    scores = clinical_scores(env, played)
    return {
        "return": interval(played.reward),
        "cost": interval(played.cost),
        "ended": float(played.ended.mean()),
        "scores": {k: interval(np.nan_to_num(scores[k], posinf=1e3)) for k in SHOWN[id]},
    }


def microseconds(net: network.Network, calls: int = 2000) -> float:
    """Processor time of one decision for one patient."""
    net.reset(1)
    seen = np.zeros((1, net.inputs), dtype=np.float32)
    net.act(seen)
    start = time.thread_time()
    for _ in range(calls):
        net.act(seen)
    return 1e6 * (time.thread_time() - start) / calls


def main() -> None:
    """Play and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--only", default="", help="part of a name; then nothing is saved")
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    protocols: dict[str, tuple[str, Episodes, dict[str, Any]]] = {}
    for name in (n for n in network.shipped() if args.only in n):
        net = network.load(name)
        id, how = net.meta["env"]["id"], net.meta["env"]["kwargs"]
        task = net.meta["hyperparameters"]["task"]
        if task not in protocols:
            played, env = usual(id, how, args.patients, args.seed)
            protocols[task] = name, played, row(played, env, id)
            rows[f"{task}: usual protocol"] = protocols[task][2]
            tell(f"{task}: usual protocol", protocols[task][2])
        env = network.environment(net, num_envs=args.patients, split="test", patients=args.patients)
        played = play(env, net, args.seed)
        assert np.array_equal(played.who, protocols[task][1].who)  # the same patients
        rows[name] = row(played, env.unwrapped, id)
        rows[name] |= {
            "gain": interval(played.reward - protocols[task][1].reward),
            "microseconds": round(microseconds(net), 1),
            "cpu_seconds": net.meta["curve"][-1]["cpu_seconds"],
            "steps": net.meta["curve"][-1]["steps"],
        }
        tell(name, rows[name])
    if not args.only:
        save("trained", {"patients": args.patients, "seed": args.seed, "rows": rows})
        print(f"written: {RESULTS / 'trained.json'}")


def tell(name: str, r: Mapping[str, Any]) -> None:
    """One line."""
    words = [f"{name:<32} return {r['return']['mean']:.4g} ({r['return']['low']:.4g} to {r['return']['high']:.4g})"]
    words += [f"cost {r['cost']['mean']:.3g}", *(f"{k} {v['mean']:.2f}" for k, v in r["scores"].items())]
    if "gain" in r:
        words += ["gain {mean:+.3g} ({low:+.3g} to {high:+.3g})".format(**r["gain"]), f"{r['microseconds']} µs"]
    print("  ".join(words), flush=True)


if __name__ == "__main__":
    main()
