"""The controller's warm step beside do-mpc, CasADi + IPOPT, rockit + fatrop and CasADi's sqpmethod; late steps.

Four problems (benchmarks/mpc_cases.py): glucose by Hovorka and by S2008 (N = 48 at 5 min), propofol by Eleveld (N = 60
at 5 s), vancomycin by Goti (six free doses, AUC24 of three days). A closed loop of a patient whose parameters differ
from the model's is replayed: every side plans the same snapshots, each plan warmed by its last. Every plan's cost is
worked out by one function (`mpc_statement.costs`); there is no ratio where a plan costs more than the cheapest one
found by more than the tolerance. Then time against horizon and scenarios, and the share of steps that come late while
busy processes want the same cores.

    .venv/bin/python benchmarks/mpc_peers.py [hovorka s2008 propofol vancomycin …] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, save, stored
from frame import Job, Side, Times, interleaved, ratio, sides
from mpc_cases import HOVORKA, UVA, growing, replay
from mpc_deadlines import ABOVE, DEADLINES, measure
from mpc_plot import draw
from mpc_statement import costs, excess, write
from report import committed, compared, number, put, rows, table, told

TOLERANCE = 1e-4  # a plan may cost so much more than the cheapest, relative, and count as the same work
STEPS = 25  # snapshots: the first plan is cold and not counted
SLOW = 20.0  # s of processor: a chain that takes so long is not run in every round
# name: script, the peer whose environment it needs, what its jobs say
SIDES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "doseloop": ("doseloop_ocp.py", None, {}),
    "CasADi sqpmethod": ("doseloop_ocp.py", None, {"how": "sqpmethod"}),
    "rockit + fatrop": ("rockit_ocp.py", "rockit", {}),
    "CasADi + IPOPT": ("casadi_ocp.py", "casadi", {}),
    "do-mpc": ("dompc_ocp.py", "dompc", {}),
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hovorka": ("Glucose, Hovorka: 4 h at 5 min, N = 48", {"kind": "glucose", "model": HOVORKA}),
    "s2008": ("Glucose, UVA/Padova S2008: 4 h at 5 min, N = 48", {"kind": "glucose", "model": UVA}),
    "propofol": ("Propofol, Eleveld: 5 min at 5 s, N = 60; a stimulus comes", {"kind": "propofol", "skip": 70}),
    "vancomycin": ("Vancomycin, Goti: six doses in three days, AUC24 400–600", {"kind": "vancomycin"}),
    "vancomycin_10": ("The same over 10 draws of the patient", {"kind": "vancomycin", "draws": 10}),
}
# where each side stops on the way up, for the sake of time
HORIZONS = {"doseloop": (12, 24, 48, 96, 144, 192, 288), "rockit + fatrop": (12, 48, 144, 288),
            "CasADi + IPOPT": (12, 48, 144, 288), "do-mpc": (12, 48, 144, 288)}  # fmt: skip
SCENARIOS = {"doseloop": (1, 3, 10, 30, 100), "rockit + fatrop": (1, 3, 10), "CasADi + IPOPT": (1, 3, 10, 30),
             "do-mpc": (1, 3, 10)}  # fmt: skip
SCALED = 5  # snapshots of each point


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


def wanted(without: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """The sides but those left out."""
    return [(name, script, peer) for name, (script, peer, _) in SIDES.items() if name not in without]


def compare(name: str, found: Mapping[str, Side], rounds: int, folder: Path, **case: Any) -> list[dict[str, Any]]:
    """Every side's chain of one case: equal work first, then time; the lines of the result."""
    r = replay(**case)
    write(r, case, folder / name)
    jobs = [Job(f"{name}: {s}", found[s], {"case": name, **SIDES[s][2]}, case["steps"] - 1) for s in found]
    times, outputs, failed = interleaved(jobs, rounds, folder, slow=SLOW, progress=lambda t: say(f"  {t}"))
    return judged({k: costs(r, v, first=1) for k, v in outputs.items()}, times, failed)


def judged(
    cost: Mapping[str, np.ndarray], times: Mapping[str, Times], failed: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Lines of a case: each side's excess of cost over the cheapest plans, its times, its ratio or why none."""
    over = excess(cost)
    mine = next((k for k in cost if k.endswith(": doseloop")), None)
    lines: list[dict[str, Any]] = []
    for label, e in over.items():
        line = {"name": label, "side": label.partition(": ")[2], "difference": e["max"], "excess": e}
        line |= times[label].summary()
        if mine is not None and label != mine:
            line["ratio"] = ratio(times[label], times[mine], max(e["max"], over[mine]["max"]), TOLERANCE)
        lines.append(line)
    return lines + [{"name": k, "side": k.partition(": ")[2], "failed": t} for k, t in failed.items()]


def scaling(found: Mapping[str, Side], rounds: int, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """A warm step against the horizon (one draw) and the number of scenarios (N = 48), on Hovorka's glucose."""
    points: list[dict[str, Any]] = []
    what = {"kind": "glucose", "model": HOVORKA, "steps": SCALED, "skip": 9}

    def go(axis: str, at: int, who: Sequence[str], label: str = "", **more: Any) -> None:
        say(f"  {label or 'glucose'}, {axis} {at}")
        here = {s: found[s] for s in who if s in found}
        for line in compare(f"{axis}{at}{label}", here, rounds, folder, **(what | more)):
            side = f"{line['side']}{label}"
            points.append({"axis": axis, "at": at, **line, "side": side, "name": f"{axis} {at}: {side}"})

    for N in HORIZONS["doseloop"][: 3 if quick else None]:
        go("stages", N, [s for s, most in HORIZONS.items() if N in most], stages=N)
        go("stages", N, ["doseloop"], ", blocked", stages=N, blocks=growing(N))
    for D in SCENARIOS["doseloop"][: 2 if quick else None]:
        go("scenarios", D, [s for s, most in SCENARIOS.items() if D in most], draws=D)
        go("scenarios", D, ["doseloop"], ", S2008", draws=D, model=UVA)
        go("scenarios", D, ["doseloop"], ", propofol", draws=D, kind="propofol")
    return points


def late(found: Mapping[str, Side], folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Wall times of single steps, idle and beside busy processes."""
    lines: list[dict[str, Any]] = []
    for name in ("hovorka",) if quick else ("hovorka", "s2008", "propofol"):
        case = {**CASES[name][1], "steps": STEPS}
        write(replay(**case), case, folder / name)
        own, many, few = found["doseloop"], 4 if quick else 84, 1 if quick else 4
        ways: dict[str, tuple[Side, dict[str, Any], int]] = {
            "doseloop": (own, {}, many),
            "doseloop, to end after 1 ms": (own, {"deadline": 1e-3}, many),
        }
        ways |= {s: (found[s], {}, few) for s in ("rockit + fatrop", "CasADi + IPOPT") if s in found}
        for x in measure(name, ways, folder, lambda t, name=name: say(f"  {name}, {t}")):
            load = f"{x['busy processes']} busy processes" if x["busy processes"] else "idle"
            lines.append({**x, "case": name, "way": x["name"], "name": f"{name}: {x['name']}, {load}"})
    return lines


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    out = []
    for name, r in results["cases"].items():
        body = [[c[0].partition(": ")[2], *c[1:]] for c in rows(r["lines"])]
        head = ["a warm step", "excess cost, at most", "processor ms", "wall ms", "of doseloop's time"]
        out += [f"**{CASES[name][0]}.** {told(r['measured'])}", "", *table(head, body), ""]
    if results.get("scaling"):
        out += [f"**Horizon and scenarios.** {told(results['scaling']['measured'])}", ""]
        out += ["![a warm step against horizon and scenarios](img/mpc_speed.png)", ""]
        body = [
            [x["name"], f"{x['difference']:.1e}", number(x["cpu ms"]["median"]), x.get("ratio", {}).get("refused", "")]
            for x in results["scaling"]["lines"]
            if x["difference"] > TOLERANCE
        ]
        if body:
            out += ["Points of the figure that are not equal work:", ""]
            out += [*table(["point", "excess cost", "processor ms", "why no ratio"], body), ""]
        missed = [f"{x['name']} ({x['failed']})" for x in results["scaling"].get("failed", ())]
        out += [f"Not measured: {'; '.join(missed)}.", ""] if missed else []
    if results.get("late"):
        r = results["late"]
        head = ["wall ms of single steps", "busy processes", "steps", "median", "99 %", "99.9 %", "most"]
        head += [*(f"> {d:g} ms" for d in DEADLINES), "ended by its own deadline"]
        share = lambda v: "0" if v == 0 else f"{100 * v:{'.0f' if v >= 0.1 else '.2g'}} %"  # noqa: E731
        body = []
        for x in r["lines"]:
            cells = [f"{x['case']}: {x['way']}", str(x["busy processes"]), f"{x['steps']:,}"]
            cells += [number(x["ms"][k]) for k in ("median", "p99", "p99.9", "max")]
            cells += [share(x["beyond"][f"{d:g} ms"]) for d in DEADLINES]
            body.append([*cells, share(x["ended by its own deadline"]) if "own deadline ms" in x else ""])
        of = r["measured"]
        told_of = f"{of['processor']}, load before it {of['load_before']}, commit {of['commit']}."
        out += [f"**Late steps.** {told_of}", "", *table(head, body), ""]
        cut = [f"{x['case']} {x[ABOVE]['max']:.1e}" for x in r["lines"] if "own deadline ms" in x and ABOVE in x]
        if cut:
            out += [f"Largest excess of cost of a plan ended by its deadline under load: {', '.join(cut)}.", ""]
    return "\n".join(out)


def measured(load: float, rounds: int) -> dict[str, Any]:
    """Of what machine a part is."""
    return {k: machine()[k] for k in ("processor", "load", "commit")} | {"load_before": load, "rounds": rounds}


def measure_parts(parts: Sequence[str], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The parts asked for; what is done stays, also where a later part is stopped."""
    now = stored("mpc_peers", folder)
    for part in parts:
        rounds = 2 if args.quick else args.rounds
        load = round(os.getloadavg()[0], 2)
        say(f"== {part}")
        with tempfile.TemporaryDirectory() as place, sides(wanted(args.without), Path(place), say) as found:
            new: dict[str, Any]
            if part == "scaling":
                rounds = min(rounds, 3)
                points = scaling(found, rounds, Path(place), args.quick)
                new = {
                    "lines": [p for p in points if "failed" not in p],
                    "failed": [p for p in points if "failed" in p],
                }
            elif part == "late":
                rounds = 1
                new = {"lines": late(found, Path(place), args.quick)}
            else:
                case = {**CASES[part][1], "steps": 7 if args.quick else STEPS}
                new = {"lines": compare(part, found, rounds, Path(place), **case)}
            new |= {"measured": measured(load, rounds), "versions": {k: s.versions for k, s in found.items()}}
        known = {**now.get("cases", {}), **({part: new} if part in CASES else {})}
        results = {
            "lines": [line for name in CASES if name in known for line in known[name]["lines"]],
            "cases": {name: known[name] for name in CASES if name in known},
            **{k: new if k == part else now[k] for k in ("scaling", "late") if k == part or k in now},
        }
        now = save("mpc_peers", results, folder, threads=1)
    return now


def main() -> None:
    """Run, save, compare, draw."""
    every = [*CASES, "scaling", "late"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(every)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few steps, two rounds, short scales; into out/")
    parser.add_argument("--without", nargs="*", default=[], metavar="PEER", help="peers to leave out")
    parser.add_argument("--write", action="store_true", help="measure nothing: the page and the figure from the JSON")
    args = parser.parse_args()
    if set(args.parts) - set(every) or args.rounds < 1 or set(args.without) - {*list(SIDES)[1:]}:
        parser.error(f"parts are {', '.join(every)}; peers {', '.join(list(SIDES)[1:])}; rounds 1 or more")
    folder = Path("out") if args.quick else RESULTS
    if args.write:
        now = stored("mpc_peers", folder)
    else:
        last = committed("mpc_peers")
        now = measure_parts(args.parts or every, args, folder)
        print(compared(now, last))
    print("\n" + page(now))
    picture = Path(__file__).parent.parent / "docs" / "img" / "mpc_speed.png"
    if not args.quick:
        put("mpc_peers", page(now))
    if now.get("scaling"):
        draw(now["scaling"]["lines"], folder / "mpc_speed.png" if args.quick else picture)


if __name__ == "__main__":
    main()
