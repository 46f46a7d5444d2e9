"""Order of merit in the environments: who treats better, on the same patients, under the same noise.

Random and zero actions in the environment as it is by default; the usual protocol, model-predictive control with its
estimator, and an oracle (the same control, told the true patient) by the doses they ask for. The guard judges all of
them. Test split; lane k has seed + k, so that everybody meets the same patients, meals, stimuli and sensors.
Intervals: 95 %, bootstrap over episodes; differences are paired.

    .venv/bin/python benchmarks/merit.py [Glucose Propofol …] [--patients 300] [--only mpc] [--plot]

Each row is kept in results/merit.json as soon as it is known; ``--plot`` draws docs/img/merit.png from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from common import RESULTS, save
from doseloop.envs.registration import IDS
from doseloop.policies.episodes import Episodes, play
from doseloop.policies.evaluation.arms import NOMINAL
from doseloop.policies.evaluation.clinical import clinical_scores
from doseloop.policies.evaluation.contestants import contestants, names

ORDER = ("random", "zero", "usual", "nomogram", "pid", "mpc", "oracle")
NAMES = {"usual": "usual protocol", "nomogram": "nomogram", "pid": "PID", "mpc": "MPC", "oracle": "oracle"}


# Clinical scores in tables, by the names of `policies.evaluation.clinical`, with what they are.
SHOWN: Mapping[str, Mapping[str, str]] = {
    "doseloop/Glucose-v0": {
        "tir": "% in 70-180",
        "tbr": "% below 70",
        "tbr54": "% below 54",
        "tar": "% above 180",
        "magni": "Magni risk",
    },
    "doseloop/Propofol-v0": {
        "in_range": "% in 40-60",
        "below40": "% below 40",
        "above60": "% above 60",
        "mdape": "MDAPE, %",
    },
    "doseloop/Phenobarbital-v0": {
        "inside": "% of time in 15-40 mg/L",
        "below": "% below 15",
        "above": "% above 40",
    },
    "doseloop/Vancomycin-v0": {
        "auc_inside": "% of days with AUC24 in 400-600",
        "auc_below": "% below 400",
        "auc_above": "% above 600",
    },
}


def interval(values: np.ndarray, draws: int = 4000) -> dict[str, float]:
    """Mean with its 95 % bootstrap interval."""
    index = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[index].mean(axis=1), [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def random(env: Any, observations: np.ndarray) -> np.ndarray:
    """Any action."""
    return np.asarray(env.action_space.sample())


def bout(id: str, name: str, n: int, seed: int) -> tuple[Episodes, Mapping[str, np.ndarray], float]:
    """Play one policy: what came of it, clinical scores, seconds of this thread."""
    (who,) = contestants(id, [name])
    start = time.thread_time()
    env: Any = gymnasium.make_vec(id, split="test", patients=n, num_envs=n, **who.keywords)
    env.action_space.seed(seed)
    played = play(env, random if name == "random" else who.make(env.unwrapped, NOMINAL), seed)
    return played, clinical_scores(env.unwrapped, played), time.thread_time() - start


def row(played: Episodes, scores: Mapping[str, np.ndarray], shown: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """One policy's numbers; its episodes' returns with them, for paired differences."""
    return {
        "return": interval(played.reward),
        "cost": interval(played.cost),
        "parts": {k: float(v.mean()) for k, v in played.parts.items()},
        "ended": interval(played.ended.astype(float)),
        "scores": {k: interval(np.nan_to_num(scores[k], posinf=1e3)) for k in shown},
        "seconds": seconds,
        "returns": [float(f"{r:.5g}") for r in played.reward],
    }


def gaps(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Paired differences of returns from each policy to the next better one in the order that is meant."""
    names = [k for k in ORDER if k in rows]
    out = {}
    chain = [
        ("random", "usual"),
        ("zero", "usual"),
        ("usual", "nomogram"),
        ("usual", "mpc"),
        ("nomogram", "mpc"),
        ("pid", "mpc"),
        ("mpc", "oracle"),
    ]
    for a, b in chain:
        if a in names and b in names:
            out[f"{a} to {b}"] = interval(np.array(rows[b]["returns"]) - np.array(rows[a]["returns"]))
    return out


def kept() -> dict[str, Any]:
    """What results/merit.json holds."""
    path = RESULTS / "merit.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Mean returns with intervals, one panel an environment."""
    from matplotlib.figure import Figure

    ids = [i for i in SHOWN if i in results]
    figure = Figure(figsize=(8.6, 0.55 + 1.75 * len(ids)), layout="constrained", facecolor="#fbfaf7")
    axes = figure.subplots(len(ids), 1, squeeze=False)[:, 0]
    colours = {"random": "#9aa5b1", "zero": "#9aa5b1", "usual": "#b7791f", "pid": "#b7791f", "mpc": "#1b6ca8"}
    for ax, id in zip(axes, ids):
        rows = results[id]["rows"]
        names = [k for k in ORDER if k in rows][::-1]
        for y, k in enumerate(names):
            r, colour = rows[k]["return"], colours.get(k, "#2f855a")
            ax.plot([r["low"], r["high"]], [y, y], color=colour, lw=5, alpha=0.35, solid_capstyle="round")
            ax.plot(r["mean"], y, "o", color=colour, ms=6.5)
            ax.annotate(f"{r['mean']:.3g}", (r["mean"], y), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        ax.set_yticks(range(len(names)), [NAMES.get(k, k) for k in names], fontsize=9)
        ax.set_ylim(-0.6, len(names) - 0.25)
        ax.set_xscale("symlog", linthresh=0.01)
        means = [rows[k]["return"]["mean"] for k in names]
        ax.set_xlim(1.25 * min(means), 0.6 * max(means) if max(means) < -0.05 else 0.004)
        ax.set_title(f"{id}, {results[id]['patients']} episodes of the test split", loc="left", fontsize=9.5)
        ax.set_facecolor("#fbfaf7")
        ax.grid(axis="x", color="#e6e3dc", lw=0.7)
        for side, spine in ax.spines.items():
            spine.set_visible(side == "bottom")
        ax.tick_params(length=0, labelsize=8.5)
    axes[-1].set_xlabel("return of an episode (0 is best), mean and 95 % interval; logarithmic", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Play and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help="parts of ids; default all")
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--only", default="", help="one policy")
    parser.add_argument("--plot", action="store_true", help="draw what is kept, play nothing")
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    args = parser.parse_args()
    results = {k: v for k, v in kept().items() if k != "machine"}
    if args.plot:
        plot(results, Path(__file__).parents[1] / "docs" / "img" / "merit.png")
        return
    for id in (i for i in IDS if i in SHOWN and (not args.which or any(w in i for w in args.which))):
        entry = results.setdefault(id, {"rows": {}})
        if (entry.get("patients"), entry.get("seed")) != (args.patients, args.seed):
            entry = results[id] = {"patients": args.patients, "seed": args.seed, "rows": {}}
        for name in names(id):
            if args.only and args.only != name:
                continue
            played, scores, seconds = bout(id, name, args.patients, args.seed)
            entry["rows"][name] = r = row(played, scores, SHOWN[id], seconds)
            entry["gaps"] = gaps(entry["rows"])
            entry["shown"] = dict(SHOWN[id])
            entry["persons"] = len(set(played.who.tolist()))
            cells = "  ".join(f"{k} {v['mean']:.2f}" for k, v in r["scores"].items())
            print(
                f"{id} {name:<7} return {r['return']['mean']:.3f} ({r['return']['low']:.3f} to "
                f"{r['return']['high']:.3f})  cost {r['cost']['mean']:.2f}  ended {r['ended']['mean']:.3f}  {cells}  "
                f"{seconds:.0f} s",
                flush=True,
            )
            if not args.quick:
                save("merit", results)
        print(
            *(f"  {k}: {v['mean']:+.3f} ({v['low']:+.3f} to {v['high']:+.3f})" for k, v in entry["gaps"].items()),
            sep="\n",
        )


if __name__ == "__main__":
    main()
