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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from common import RESULTS, save
from doseloop.envs.registration import IDS
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.episodes import Episodes, play, with_doses
from doseloop.policies.glucose_mpc import GlucoseMPC
from doseloop.policies.oracle import AnaesthesiaOracle, GlucoseOracle
from doseloop.policies.pid import PID
from doseloop.policies.target_controlled import TargetControlled, Titration
from doseloop.policies.ward import Nomogram, UsualProtocol
from doseloop.policies.ward_mpc import WardMPC
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.glucose_scores import glucose_scores

ORDER = ("random", "zero", "usual", "nomogram", "pid", "mpc", "oracle")
NAMES = {"usual": "usual protocol", "nomogram": "nomogram", "pid": "PID", "mpc": "MPC", "oracle": "oracle"}


@dataclass(frozen=True)
class Bout:
    """How an environment's policies are made and scored.

    Attributes:
        doses: keywords with which its levers are the therapy's actuators.
        policies: by name, made from the environment.
        scores: of what was played.
        shown: scores in tables, with what they are.
    """

    doses: Mapping[str, Any]
    policies: Mapping[str, Callable[[Any], Any]]
    scores: Callable[[Episodes, Any], Mapping[str, np.ndarray]]
    shown: Mapping[str, str]


BOUTS = {
    "doseloop/Glucose-v0": Bout(
        {"action": "dose"},
        {
            "usual": lambda env: BasalBolus(),
            "mpc": lambda env: GlucoseMPC(interval=env.world.interval),
            "oracle": lambda env: GlucoseOracle(env.privileged, interval=env.world.interval),
        },
        lambda e, env: glucose_scores(e.truth, e.truth.shape[1]),
        {"tir": "% in 70-180", "tbr": "% below 70", "tbr54": "% below 54", "tar": "% above 180", "magni": "Magni risk"},
    ),
    "doseloop/Propofol-v0": Bout(
        {"action": "rate"},
        {
            "usual": lambda env: TargetControlled(interval=env.world.interval, titration=Titration()),
            "pid": lambda env: PID(env.world.interval),
            "mpc": lambda env: AnaesthesiaMPC(interval=env.world.interval),
            "oracle": lambda env: AnaesthesiaOracle(env.privileged, interval=env.world.interval),
        },
        lambda e, env: anaesthesia_scores(e.truth, env.world.tick),
        {"in_range": "% in 40-60", "below40": "% below 40", "above60": "% above 60", "mdape": "MDAPE, %"},
    ),
    "doseloop/Phenobarbital-v0": Bout(
        {"action": "dose"},
        {
            "usual": lambda env: UsualProtocol(env.therapy),
            "mpc": lambda env: WardMPC(env.therapy, interval=env.world.interval),
            "oracle": lambda env: WardMPC(env.therapy, interval=env.world.interval, truth=env.privileged),
        },
        lambda e, env: share_of(e.truth, 15.0, 40.0),
        {"inside": "% of time in 15-40 mg/L", "below": "% below 15", "above": "% above 40"},
    ),
    "doseloop/Vancomycin-v0": Bout(
        {"action": "dose"},
        {
            "usual": lambda env: UsualProtocol(env.therapy),
            "nomogram": lambda env: Nomogram(),
            "mpc": lambda env: WardMPC(env.therapy, interval=env.world.interval),
            "oracle": lambda env: WardMPC(env.therapy, interval=env.world.interval, truth=env.privileged),
        },
        lambda e, env: share_of(daily(e.truth, env), 400.0, 600.0),
        {"inside": "% of days with AUC24 in 400-600", "below": "% below 400", "above": "% above 600"},
    ),
}


def daily(truth: np.ndarray, env: Any) -> np.ndarray:
    """(n, days) AUC24 from the levels of each tick, by the trapezoid (scores only; rewards use the exact integral)."""
    ticks, tick = round(24.0 / env.world.tick), env.world.tick
    before = np.concatenate([np.zeros((len(truth), 1)), truth[:, :-1]], axis=1)
    return ((before + truth) * (tick / 2)).reshape(len(truth), -1, ticks).sum(axis=2)


def share_of(values: np.ndarray, low: float, high: float) -> dict[str, np.ndarray]:
    """Per cent of each row inside a band, below and above it."""
    below, above = 100.0 * (values < low).mean(axis=1), 100.0 * (values > high).mean(axis=1)
    return {"inside": 100.0 - below - above, "below": below, "above": above}


def interval(values: np.ndarray, draws: int = 4000) -> dict[str, float]:
    """Mean with its 95 % bootstrap interval."""
    index = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[index].mean(axis=1), [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def random(env: Any, observations: np.ndarray) -> np.ndarray:
    """Any action."""
    return np.asarray(env.action_space.sample())


def zero(env: Any, observations: np.ndarray) -> np.ndarray:
    """Nothing."""
    return np.full(env.action_space.shape, -1.0)


def bout(id: str, name: str, n: int, seed: int) -> tuple[Episodes, Mapping[str, np.ndarray], float]:
    """Play one policy: what came of it, clinical scores, seconds of this thread."""
    how, plan = {"split": "test", "patients": n, "num_envs": n}, BOUTS[id]
    start = time.thread_time()
    if name in ("random", "zero"):
        env: Any = gymnasium.make_vec(id, **how)
        env.action_space.seed(seed)
        played = play(env, {"random": random, "zero": zero}[name], seed)
    else:
        env = gymnasium.make_vec(id, **how, **plan.doses)
        played = play(env, with_doses(plan.policies[name](env.unwrapped)), seed)
    return played, plan.scores(played, env.unwrapped), time.thread_time() - start


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

    ids = [i for i in BOUTS if i in results]
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
    for id in (i for i in IDS if i in BOUTS and (not args.which or any(w in i for w in args.which))):
        entry = results.setdefault(id, {"rows": {}})
        if (entry.get("patients"), entry.get("seed")) != (args.patients, args.seed):
            entry = results[id] = {"patients": args.patients, "seed": args.seed, "rows": {}}
        for name in ("random", "zero", *BOUTS[id].policies):
            if args.only and args.only != name:
                continue
            played, scores, seconds = bout(id, name, args.patients, args.seed)
            entry["rows"][name] = r = row(played, scores, BOUTS[id].shown, seconds)
            entry["gaps"] = gaps(entry["rows"])
            entry["shown"] = dict(BOUTS[id].shown)
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
