"""PPO's time to a given score: as it ships, on one thread and on two, and as one would do without native vectors.

The scores are the usual protocol's on the same 300 patients of the validation split, and half and three quarters of the
way from there to the MPC's. Every seed is trained to the end of what ships (`doseloop train TASK --algo ppo`), examined
on those patients after every round (36 to 74 thousand decisions), without exploration, and counts from the first
examination that passes. The examinations' time is told apart: "learning" is without it. "Plain" is `gymnasium.make` in
SB3's DummyVecEnv with SB3's defaults, for a given time. Peers' environments are too slow, or treat other patients, to
be trained to such a score here: their decisions a second under the same PPO are measured, and what as many decisions as
ours took would take is an extrapolation.

    .venv/bin/python benchmarks/to_score.py [glucose vancomycin plain peers] [--seeds 5] [--plain-seconds 200] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium
import torch
from common import RESULTS, machine, save, stored
from doseloop.envs.sb3 import SB3VecEnv
from doseloop.policies.episodes import play
from doseloop.policies.evaluation.arms import arm
from doseloop.policies.evaluation.contestants import contestants
from doseloop.policies.training.run import EXAM_SEED, EXAMINED, Run
from doseloop.policies.training.settings import Settings, settings
from frame import Side, quartiles
from peers.environment import python_with
from report import committed, compared, number, put, table, told
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from to_score_figure import draw

TASKS = ("glucose", "vancomycin")
PARTS = (*TASKS, "plain", "peers")
# peer: environment, copies, decisions of each in a rollout (no more than takes some seconds)
PEERS = {"simglucose": ("simglucose", 4, 24), "glucosim": ("gymsims", 64, 96), "anesthesim": ("gymsims", 64, 96)}
SCORES = {"usual": "the usual protocol's score", "halfway": "halfway to the MPC's", "near": "three quarters of the way"}
PLAIN_EXAM = 20_480  # decisions between two examinations of the plain way: ten of SB3's rollouts


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


class Watched(Run):
    """A run that keeps the time of its examinations apart."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.began, self.apart, self.points = (0.0, 0.0), [0.0, 0.0], []
        super().__init__(*args, **kwargs)

    def learn(self) -> Path:
        """All rounds."""
        self.began = time.perf_counter(), time.process_time()
        return super().learn()

    def _examine(self, began: tuple[float, ...]) -> None:
        start = time.perf_counter(), time.process_time()
        super()._examine(began)
        end = time.perf_counter(), time.process_time()
        for k in (0, 1):
            self.apart[k] += end[k] - start[k]
        self.points.append(point(self.model.num_timesteps, self.curve[-1]["score"], self.began, end, self.apart))
        note(self.points[-1])


def point(
    decisions: int, score: float, began: tuple[float, float], now: tuple[float, float], apart: Sequence[float]
) -> dict[str, float]:
    """A row of a curve: seconds since the beginning, by the wall and of the processor, with and without exams."""
    wall, cpu = now[0] - began[0], now[1] - began[1]
    return {
        "decisions": decisions, "score": round(score, 5), "wall": wall - apart[0], "cpu": cpu - apart[1],
        "wall with examinations": wall, "cpu with examinations": cpu,
    }  # fmt: skip


def note(row: Mapping[str, float]) -> None:
    """Say how it stands."""
    say(f"    {row['decisions']:>9,} decisions  {row['score']:9.3f}  {row['wall']:6.1f} s")


def crossing(curve: Sequence[Mapping[str, float]], score: float) -> Mapping[str, float] | None:
    """The first row of a curve whose score is as good, if there is one."""
    return next((row for row in curve if row["score"] >= score), None)


def scores(s: Settings, n: int) -> dict[str, float]:
    """What the usual protocol and the MPC score on the patients of the examinations, and parts of the way between."""
    out = {}
    for who in contestants(s.env, ["usual", "mpc"]):
        env = gymnasium.make_vec(f"doseloop.envs:{s.env}", num_envs=n, split="validation", **who.keywords)
        out[who.name] = float(play(env, who.make(env.unwrapped, arm(s.env, "nominal")), EXAM_SEED).reward.mean())
    return out | {k: out["usual"] + w * (out["mpc"] - out["usual"]) for k, w in (("halfway", 0.5), ("near", 0.75))}


def shipped(s: Settings, seed: int, threads: int, examined: int) -> list[dict[str, float]]:
    """The curve of one seed, as it ships."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        if threads > 1:
            s = replace(s, kwargs={**s.kwargs, "threads": threads})
        run = Watched(s, seed, Path(folder), SB3VecEnv, examined=examined)
        run.learn()
        return run.points


def plain(seed: int, seconds: float, examined: int) -> list[dict[str, float]]:
    """The curve of SB3's PPO with its defaults over `gymnasium.make`, for so many seconds of learning."""
    torch.set_num_threads(1)
    id = settings("glucose", "ppo").env
    model = PPO("MlpPolicy", DummyVecEnv([lambda: gymnasium.make(id)]), seed=seed, device="cpu")
    exam = gymnasium.make_vec(id, num_envs=examined, split="validation")
    points: list[dict[str, float]] = []
    began, apart = (time.perf_counter(), time.process_time()), [0.0, 0.0]
    while not points or points[-1]["wall"] < seconds:
        if points:
            model.learn(PLAIN_EXAM, reset_num_timesteps=False)
        start = time.perf_counter(), time.process_time()
        score = float(play(exam, lambda _, seen: model.predict(seen, deterministic=True)[0], EXAM_SEED).reward.mean())
        end = time.perf_counter(), time.process_time()
        apart = [a + e - b for a, b, e in zip(apart, start, end)]
        points.append(point(model.num_timesteps, score, began, end, apart))
        note(points[-1])
    return points


def peers(rounds: int) -> dict[str, Any]:
    """Decisions a second of PPO on the peers' environments."""
    out: dict[str, Any] = {}
    for name, (peer, n, n_steps) in PEERS.items():
        say(f"  {name} …")
        if (python := python_with(peer)) is None:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "peer.txt").write_text(peer, encoding="utf-8")
            (folder / "ours.txt").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
            side = Side(name, "sb3_steps.py", folder, python)
            try:
                job = {"env": name, "n": n, "n_steps": n_steps, "batch": min(4096, n * n_steps), "epochs": 5}
                side.run(job)
                runs = [side.run(job) for _ in range(rounds)]
            finally:
                side.close()
        rates = {k: n * n_steps / median(r[k] for r in runs) for k in ("cpu", "wall")}
        each = [1e6 * r["cpu"] / (n * n_steps) for r in runs]
        out[name] = {"copies": n, "rollout": n_steps, "versions": side.versions, "decisions per second": rates,
                     "cpu ms": quartiles(each)}  # fmt: skip
    return out


def measured_by(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it gives, with what it was measured on."""
    load = round(os.getloadavg()[0], 2)
    found = work()
    return found | {"measured": {k: machine()[k] for k in ("processor", "load", "commit")} | {"load_before": load}}


def trained(task: str, seeds: int, examined: int, steps: int | None, goal: dict[str, float] | None) -> dict[str, Any]:
    """A task's seeds on one thread, and two of them on two; ``goal``: the scores, if they are known."""
    s = settings(task, "ppo", steps)
    if goal is None:
        say("  what protocol and MPC score …")
        goal = scores(s, examined)
    say(f"  {goal}; once to warm up")
    shipped(settings(task, "ppo", 1), 99, 1, examined)
    curves = {}
    for threads, many in ((1, seeds), (2, min(2, seeds))):
        curves[f"{threads} thread{'s' * (threads > 1)}"] = [
            (say(f"  seed {k}, {threads} threads"), shipped(s, k, threads, examined))[1] for k in range(many)
        ]
    return {"task": task, "examined": examined, "scores": goal, "curves": curves, "lanes": s.lanes, "round": s.round}


def lines_of(
    name: str, curves: Sequence[Sequence[Mapping[str, float]]], goal: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A line for each score: medians over the seeds that reached it."""
    out = []
    for score, label in SCORES.items():
        line: dict[str, Any] = {
            "name": f"{name}: {label}",
            "side": "doseloop",
            "score": goal[score],
            "seeds": len(curves),
        }
        rows = [r for r in (crossing(c, goal[score]) for c in curves) if r is not None]
        line["reached"] = len(rows)
        if rows and not any(r["decisions"] for r in rows):
            line["failed"] = f"before learning: {number(median(c[0]['score'] for c in curves))}"
        elif rows:
            line |= {k: quartiles([r[k] for r in rows]) for k in rows[0] if k != "score"}
            line["cpu ms"] = {k: 1e3 * v for k, v in line["cpu"].items()}
        else:
            best, last = max(r["score"] for c in curves for r in c), min(c[-1]["decisions"] for c in curves)
            line["failed"] = f"not within {last:,.0f} decisions: {number(best)} at best"
        out.append(line)
    return out


def lines(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every line of what was measured."""
    out = []
    for task in TASKS:
        if task in parts:
            p = parts[task]
            for threads, curves in p["curves"].items():
                out += lines_of(f"{task}, {threads}", curves, p["scores"])
    if "plain" in parts and "glucose" in parts:
        out += lines_of(
            "glucose, gymnasium.make and SB3's defaults", parts["plain"]["curves"], parts["glucose"]["scores"]
        )
    for name, p in parts.get("peers", {}).items():
        if name in PEERS:
            out.append({"name": f"1,000 decisions of PPO on {name}", "side": name, "cpu ms": p["cpu ms"]})
    return out


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    parts, out = results["parts"], []
    for task in (t for t in TASKS if t in parts):
        p = parts[task]
        goal = p["scores"]
        out += [
            f"**{task.capitalize()}.** Mean return of {p['examined']} validation patients: usual protocol "
            f"{number(goal['usual'])}, MPC {number(goal['mpc'])}, halfway {number(goal['halfway'])}, three quarters "
            f"{number(goal['near'])}. {told(p['measured'])}", "",
        ]  # fmt: skip
        body = []
        for x in (x for x in results["lines"] if x["name"].startswith(f"{task}, ")):
            cells = [x["name"].removeprefix(f"{task}, "), f"{x['reached']} of {x['seeds']}"]
            if "failed" in x:
                body.append([*cells, "", "", "", x["failed"]])
                continue
            spread = [f"{number(x[k]['median'])} ({number(x[k]['q1'])}–{number(x[k]['q3'])})" for k in ("wall", "cpu")]
            body.append(
                [*cells, number(x["decisions"]["median"]), *spread, number(x["wall with examinations"]["median"])]
            )
        head = ["way: score", "seeds that reach it", "decisions", "s of learning by the wall", "s of processor",
                "s by the wall with the examinations"]  # fmt: skip
        out += [*table(head, body), ""]
    if "peers" in parts and "glucose" in parts:
        found = next(
            (x for x in results["lines"] if x["name"].startswith("glucose, 1 thread: halfway") and "decisions" in x),
            None,
        )
        body = []
        for name in (n for n in PEERS if n in parts["peers"]):
            p = parts["peers"][name]
            rate = p["decisions per second"]["cpu"]
            hours = "" if found is None or name == "anesthesim" else span(found["decisions"]["median"] / rate)
            body.append([name, f"{p['copies']} × {p['rollout']}", number(rate), hours])
        out += [f"**PPO on others' environments**, 5 epochs. {told(parts['peers']['measured'])}", "",
                *table(["environment", "copies × decisions of a rollout", "decisions/s of processor",
                        "for as many decisions as glucose took to halfway (extrapolated)"], body), ""]  # fmt: skip
    return "\n".join([*out, "![score against the seconds of learning](img/to_score.png)"])


def span(seconds: float) -> str:
    """Seconds, or hours of many."""
    return f"{number(seconds / 3600)} h" if seconds > 3600 else f"{number(seconds)} s"


def main() -> None:
    """Run, save, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plain-seconds", type=float, default=200.0, help="of learning, for each of two seeds")
    parser.add_argument("--scores", action="store_true", help="let protocol and MPC play again; else theirs are kept")
    parser.add_argument("--quick", action="store_true", help="one seed, few steps and patients, into out/")
    parser.add_argument("--write", action="store_true", help="measure nothing: the page and the figure from the JSON")
    args = parser.parse_args()
    if set(args.parts) - set(PARTS) or args.seeds < 1:
        parser.error(f"parts are {', '.join(PARTS)}, seeds 1 or more")
    if "OMP_WAIT_POLICY" not in os.environ:  # else PyTorch's second thread spins: 16 s for 4 where others use the cores
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})
    folder, last = Path("out") if args.quick else RESULTS, committed("to_score")
    seeds, examined, steps = (1, 32, 200_000) if args.quick else (args.seeds, EXAMINED, None)
    known = stored("to_score", folder).get("parts", {})
    for part in () if args.write else args.parts or PARTS:
        if part == "plain":
            seconds, many = (10.0, 1) if args.quick else (args.plain_seconds, 2)
            work = lambda: {"curves": [plain(k, seconds, examined) for k in range(many)]}  # noqa: E731, B023
        elif part == "peers":
            work = lambda: peers(1 if args.quick else 3)  # noqa: E731
        else:
            before = known.get(part, {})
            goal = before["scores"] if before.get("examined") == examined and not args.scores else None
            work = lambda: trained(part, seeds, examined, steps, goal)  # noqa: E731, B023
        say(f"== {part}")
        known = {**stored("to_score", folder).get("parts", {}), part: measured_by(work)}
        known = {n: known[n] for n in PARTS if n in known}
        save("to_score", {"lines": lines(known), "parts": known}, folder, torch=torch.__version__)
    path = folder / "to_score.json"
    now = json.loads(path.read_text(encoding="utf-8"))
    now["lines"] = lines(known)
    if not args.write:
        print(compared(now, last))
    print("\n" + page(now))
    if not args.quick:
        put("to_score", page(now))
        draw(known, Path(__file__).parent.parent / "docs" / "img" / "to_score.png")


if __name__ == "__main__":
    main()
