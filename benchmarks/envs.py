"""Steps of the environments per second against their number, beside simglucose, glucosim, anesthesim and others.

A piece of work is a reset and one whole episode of every lane under steady actions that let nobody die (peers that are
slow: fewer steps). Ours run as native vectors of 1 to 4,096 lanes on one thread, large ones also on two, through
`gymnasium.make`, and in Gymnasium's `SyncVectorEnv` and `AsyncVectorEnv`; beside them the environments that are to be
had from PyPI for the same treatments. First it is shown that all ways of running ours give the same rewards, bit for
bit, and that simglucose's patients have the same course in both. A ratio is of processor time for the same simulated
time, and only where the patient's model is the same; the others' steps hold less, which the table says.

    .venv/bin/python benchmarks/envs.py [glucose propofol vancomycin phenobarbital] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, save, stored
from envs_figure import draw, length
from frame import Job, Side, Times, difference, interleaved, ratio, sides
from peers.environment import python_with
from report import committed, compared, number, put, table, told

SIZES = (1, 16, 64, 256, 1024, 4096)
TWO_THREADS = (256, 1024, 4096)
SOME = 16  # lanes of Gymnasium's vectors, and of the comparison of rewards
PARTS = ("compiled", "world", "integrator")
SAME_DAY = 1e-5  # of the peak of glucose: up to where simglucose's day is the same (its own solver keeps 1e-6)
SLOW = 3.0
BY = {"doseloop": ("doseloop_envs.py", None), "simglucose": ("simglucose_envs.py", "simglucose"),
      "gymsims": ("gymsims_envs.py", "gymsims"), "anesthesia": ("anesthesia_envs.py", "anesthesia")}  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """Somebody else's environment: whose process, what it is called, the minutes of a step, how much of it is run."""

    side: str
    title: str
    minutes: float
    steps: int
    action: tuple[float, ...]
    lanes: int
    holds: str


@dataclass(frozen=True)
class Task:
    """One of our environments: minutes and number of an episode's steps, an action that lets nobody die, its peers."""

    minutes: float
    steps: int
    action: tuple[float, ...]
    believed: tuple[int, int]  # lanes and steps with observation="belief"
    holds: str
    peers: Mapping[str, Peer]


GUARD = "a guard of limits over three windows"
TASKS = {
    "glucose": Task(
        5.0, 288, (-0.5, 0.0), (64, 20),
        f"S2008 (13 states, RK4), a Dexcom G6 with its noise, a pump's pulses, counted meals, {GUARD}, insulin on "
        "board, risk integrated each minute, another person each episode",
        {
            "simglucose": Peer("simglucose", "simglucose 0.2.11", 3.0, 40, (0.02,), 4,
                               "the same model (SciPy's dopri5), sensor with noise, random meals, pump; no guard"),
            "glucosim": Peer("gymsims", "glucosim 0.1.1", 1.0, 2880, (1.0,), SOME,
                             "Bergman's minimal model (3 states, RK4 at 1 min), white sensor noise; no guard"),
        },
    ),
    "propofol": Task(
        1 / 12, 720, (-0.9,), (64, 20),
        f"Eleveld's PK and BIS (4 states, exact), a monitor with delay, coloured noise and artefacts, stimulation, a "
        f"pump, {GUARD} with the effect site's peak predicted, another person each episode",
        {
            "anesthesia": Peer("anesthesia", "python-anesthesia-simulator 1.0.0", 1 / 12, 720, (0.1,), 1,
                               "Eleveld's PK (exact), remifentanil, norepinephrine, BIS, pressure, coloured noise; "
                               "no guard; it brings no environment: a bare reset and step around its patient"),
            "anesthesim": Peer("gymsims", "anesthesim 0.1.0", 0.5, 200, (100.0,), SOME,
                               "Marsh's PK (4 states, one Euler step of 30 s), Hill's BIS, white noise; no guard"),
        },
    ),
    "vancomycin": Task(
        720.0, 14, (-0.5,), (256, 28),
        "two compartments (exact), kidneys that change, levels by schedule, predicted AUC24 and troughs, the guard", {},
    ),
    "phenobarbital": Task(
        720.0, 28, (-0.8,), (256, 56), "one compartment (exact), levels by schedule, predicted levels, the guard", {}
    ),
}  # fmt: skip


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Way:
    """A line: what it is called, whose process, what it is told, lanes, minutes of a step."""

    name: str
    side: str
    what: Mapping[str, Any]
    n: int
    minutes: float
    calls: int

    @property
    def units(self) -> int:
        """Steps of one patient in a piece of work."""
        return self.n * self.calls


def ways_of(name: str, sizes: tuple[int, ...]) -> list[Way]:
    """Every line of one of our environments."""
    t = TASKS[name]

    def own(label: str, how: str, n: int, steps: int = t.steps, **more: Any) -> Way:
        what = {"env": name, "how": how, "n": n, "steps": steps, "action": t.action, **more}
        return Way(f"{name}: {label}", "doseloop", what, n, t.minutes, steps)

    out = [own(f"native, {n:,} lane{'s' * (n > 1)}", "native", n) for n in sizes]
    out += [
        own(f"native, {n:,} lanes, two threads", "native", n, keywords={"threads": 2})
        for n in sizes if n in TWO_THREADS
    ]  # fmt: skip
    n = sizes[-2]
    out.append(own(f"native, {n:,} lanes, random actions", "native", n, action="random"))
    out.append(own("gymnasium.make", "single", 1))
    out += [own(f"{how.capitalize()}VectorEnv, {SOME}", how, SOME) for how in ("sync", "async")]
    lanes, steps = t.believed
    out.append(own(f"native, {lanes} lanes, with the twin's belief", "native", lanes, steps,
                   keywords={"observation": "belief"}))  # fmt: skip
    for part in PARTS:
        what = {"env": name, "how": "native", "n": n, "action": t.action, "part": part, "calls": 40}
        out.append(Way(f"{name}: part: {part}, {n:,} lanes", "doseloop", what, n, t.minutes, 40))
    for key, p in t.peers.items():
        for how, lanes in (("single", 1), ("sync", p.lanes)):
            if how == "single" or lanes > 1:
                what = {"env": key, "how": how, "n": lanes, "steps": p.steps, "action": p.action}
                label = f"{p.title}{'' if how == 'single' else f', SyncVectorEnv, {lanes}'}"
                out.append(Way(f"{name}: {label}", p.side, what, lanes, p.minutes, p.steps))
    return out


def asked(side: Side, folder: Path, **what: Any) -> np.ndarray:
    """The output of one job."""
    path = folder / "asked.npy"
    side.run({**what, "save": str(path)})
    got: np.ndarray = np.load(path)
    return got


def same_rewards(name: str, own: Side, folder: Path) -> dict[str, float]:
    """How far the rewards of a first episode are from those of 16 native lanes, by way: 0 is the same bits."""
    t = TASKS[name]
    what = {"env": name, "steps": t.steps, "action": t.action, "course": True}
    truth = asked(own, folder, how="native", n=SOME, **what)
    out = {}
    for how, n, threads in (("native", 1024, 2), ("single", 1, 1), ("sync", SOME, 1), ("async", SOME, 1)):
        more = {"keywords": {"threads": threads}} if threads > 1 else {}
        got = asked(own, folder, how=how, n=n, **what, **more)
        out[how] = float(np.abs(got[:SOME] - truth[: len(got)]).max())
    return out


def same_day(own: Side, peer: Side, folder: Path) -> float:
    """Largest difference of glucose in our environment and in simglucose's, four hours of four patients."""
    what = {
        "day": True,
        "steps": 80,
        "multiple": 2.0,
        "patients": ["adult#001", "adult#006", "adolescent#003", "child#008"],
    }
    return difference(asked(own, folder, **what), asked(peer, folder, **what))


def line_of(way: Way, times: Times, mine: Times, minutes: float, differs: float | None) -> dict[str, Any]:
    """A line of the results; ``mine`` are the times of our step of so many minutes that ratios are to.

    ``differs``: from ours, of what the way computes; None: it computes something else.
    """
    cpu, wall = (float(np.median(v)) for v in (times.cpu, times.wall))
    line = {
        "name": way.name, "side": way.side, "lanes": way.n, "minutes": way.minutes, **times.summary(),
        "steps per second": {"processor": 1e3 / cpu, "wall": 1e3 / wall},
        "simulated hours per second": 1e3 / cpu * way.minutes / 60,
    }  # fmt: skip
    if times is mine or ": part: " in way.name:
        return line
    if differs is None:
        return line | {"ratio": {"refused": "another model"}}
    scaled = Times(cpu=[v * minutes / way.minutes for v in times.cpu])
    return line | {"difference": differs, "ratio": ratio(scaled, mine, differs, SAME_DAY)}


def measure(name: str, rounds: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """All lines of one of our environments and its peers."""
    say(f"== {name}")
    load, t, ways = round(os.getloadavg()[0], 2), TASKS[name], ways_of(name, sizes)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "simglucose" in t.peers and (python := python_with("simglucose")) is not None:
            (installed,) = python.parent.parent.glob("lib/python*/site-packages/simglucose")
            (folder / "simglucose.txt").write_text(str(installed), encoding="utf-8")
        wanted = [(k, *BY[k]) for k in dict.fromkeys(w.side for w in ways)]
        with sides(wanted, folder, say) as found:
            own, day = found["doseloop"], None
            same = same_rewards(name, own, folder)
            say(f"  rewards off those of 16 native lanes: {same}")
            if "simglucose" in found:
                day = same_day(own, found["simglucose"], folder)
                say(f"  glucose off simglucose's: {day:.1e} of the peak")
            jobs = [Job(w.name, found[w.side], w.what, w.units) for w in ways if w.side in found]
            times, _, failed = interleaved(jobs, rounds, folder, slow=SLOW, progress=lambda text: say(f"  {text}"))
            versions = {k: s.versions for k, s in found.items()}
    reference = times[f"{name}: native, {sizes[-2]:,} lanes"]
    off = {"doseloop": max(same.values()), "simglucose": day}
    lines = [line_of(w, times[w.name], reference, t.minutes, off.get(w.side)) for w in ways if w.name in times]
    failed |= {w.name: "its environment could not be made" for w in ways if w.side not in versions}
    whose = {w.name: w.side for w in ways}
    lines += [{"name": k, "side": whose[k], "failed": why} for k, why in failed.items()]
    measured = {k: machine()[k] for k in ("processor", "load", "commit")} | {"load_before": load, "rounds": rounds}
    return {
        "measured": measured,
        "versions": versions,
        "rewards differ": same,
        "simglucose differs": day,
        "lines": lines,
    }


HEAD = ("way", "processor µs a step", "steps/s of processor", "steps/s by the wall", "simulated h/s of processor",
        "processor time of ours, for the same simulated time")  # fmt: skip


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    out = []
    for name, r in results["envs"].items():
        t, day = TASKS[name], r.get("simglucose differs")
        about = f"**{name.capitalize()}, a step of {length(t.minutes)}.** {told(r['measured'])} It holds: {t.holds}."
        about += f" Rewards differ between the ways by {max(r['rewards differ'].values()):.0e} at most."
        if day is not None:
            about += f" simglucose's own patients, four hours in both: {day:.0e} of the peak of glucose apart."
        shown = [x for x in r["lines"] if ": part: " not in x["name"]]
        out += [about, "", *table(HEAD, [cells(x) for x in shown]), ""]
        parts = {
            p: number(1e6 * x["cpu ms"]["median"]) for x in r["lines"] for p in PARTS if f"part: {p}," in x["name"]
        }
        if parts:
            whole = next(x for x in shown if "ratio" not in x and "failed" not in x)
            step = (
                f"Of the {number(1e6 * whole['cpu ms']['median'])} ns of a step at {whole['lanes']:,} lanes, each part "
            )
            out += [f"{step}holding the next: {', '.join(f'{p} {v} ns' for p, v in parts.items())}.", ""]
        out += [f"- {p.title}: a step of {length(p.minutes)}; {p.holds}." for p in t.peers.values()]
        out += [""] if t.peers else ["No installable environment of this treatment was found to stand beside it.", ""]
    return "\n".join([*out, "![steps a second against the number of lanes](img/envs_speed.png)"])


def cells(line: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    label = line["name"].partition(": ")[2]
    if "failed" in line:
        return [label, "", "", "", "", line["failed"]]
    at, of = line["steps per second"], line.get("ratio", {})
    times = "1" if not of else of.get("refused") or f"{number(of['median'])} ×"
    figures = (1e3 * line["cpu ms"]["median"], at["processor"], at["wall"], line["simulated hours per second"])
    return [label, *map(number, figures), times]


def main() -> None:
    """Run, save, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envs", nargs="*", metavar="ENV", help=f"{', '.join(TASKS)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="up to 256 lanes and two rounds, into out/")
    parser.add_argument("--write", action="store_true", help="measure nothing: the page and the figure from the JSON")
    args = parser.parse_args()
    if set(args.envs) - set(TASKS) or args.rounds < 1:
        parser.error(f"environments are {', '.join(TASKS)}, rounds 1 or more")
    folder, last = Path("out") if args.quick else RESULTS, committed("envs")
    now: dict[str, Any] = {"envs": stored("envs", folder).get("envs", {})}
    for name in () if args.write else args.envs or TASKS:
        found = measure(name, 2 if args.quick else args.rounds, SIZES[:4] if args.quick else SIZES)
        known = {**stored("envs", folder).get("envs", {}), name: found}
        results = {n: known[n] for n in TASKS if n in known}
        now = save("envs", {"lines": [x for r in results.values() for x in r["lines"]], "envs": results}, folder)
    if not args.write:
        print(compared(now, last))
    print("\n" + page(now))
    if not args.quick:
        put("envs", page(now))
        draw(now["envs"], Path(__file__).parent.parent / "docs" / "img" / "envs_speed.png")


if __name__ == "__main__":
    main()
