"""Propofol and remifentanil by MPC and by target-controlled infusion, on held-out patients.

.venv/bin/python benchmarks/two_drugs.py [--n 120] [--minutes 40] [--surgery step]

The same patients, noise and stimulation for each; true BIS and true pressure are scored from minute 0 and from minute
10 on. "MPC without the guard" shows what the blood-pressure floor costs and gives; nothing else runs without it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from common import save
from doseloop.controller.ladder import LoopOutcome
from doseloop.policies.closed_loop import Run, run
from doseloop.policies.scenes import SCENES
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.pressure_scores import pressure_scores

SETTLED = 10.0  # min


def row(r: Run, counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """What came out, means over patients (settling: median)."""
    out: dict[str, Any] = {"cpu_seconds": seconds, "decisions": r.masks.shape[0] * r.masks.shape[1], "guard": counts}
    for since in (0.0, SETTLED):
        bis = anaesthesia_scores(r.truth, r.tick, since=since)
        pressure = pressure_scores(r.true_pressure, r.tick, since=since)
        out[f"from {since:g} min"] = {
            k: float(np.mean(v)) for k, v in (bis | pressure).items() if k not in ("settling", "global")
        } | {
            "settling": float(np.median(bis["settling"])),
            "settled": float(np.isfinite(bis["settling"]).mean()),
        }
    mean = r.delivered.mean(axis=0) / r.people.known["weight"][:, None]
    out["propofol_mg_kg_h"], out["remifentanil_ug_kg_min"] = 60 * float(mean[:, 0].mean()), float(mean[:, 1].mean())
    out["above_asked"] = int((r.allowed > np.where(r.asked > 0, r.asked, 0.0)).sum())
    if r.outcomes is not None:
        out["outcomes"] = {LoopOutcome(k).name: int((r.outcomes == k).sum()) for k in np.unique(r.outcomes)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=120)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--surgery", default="step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    scene = SCENES["anaesthesia"]()
    people = scene.people(scene.therapy.model_ids[0], args.n, "adult")
    results: dict[str, Any] = {"arguments": vars(args), "people": people.origin, "runs": {}}
    for name, policy, guarded in (
        ("tci, titrated", "tci", True),
        ("tci, fixed", "tci-fixed", True),
        ("MPC", "mpc", True),
        ("MPC without the guard", "mpc", False),
    ):
        gate = scene.gate() if guarded else None
        world = scene.world(people, args.surgery, 1)
        start = time.process_time()
        r = run(world, scene.policy(policy), gate, args.minutes, seed=args.seed)
        counts = {} if gate is None else {c.name: k for c, k in gate.counts.items() if k}
        results["runs"][name] = row(r, counts, time.process_time() - start)
        got = results["runs"][name][f"from {SETTLED:g} min"]
        print(name, {k: round(v, 2) for k, v in got.items()}, flush=True)
        save(f"two_drugs-{args.surgery}", results)


if __name__ == "__main__":
    main()
