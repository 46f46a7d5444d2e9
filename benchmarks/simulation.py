"""Simulation beside SciPy, numbalsoda, diffrax, CasADi's CVODES, simglucose and python-anesthesia-simulator.

Four problems (benchmarks/ivp_problems.py): linear oral kinetics, a day of S2008, an hour of Eleveld, a stiff whole-body
model. Every side gets the same equations, written out from doseloop's trace, in its own environment, on one thread;
each method runs at several tolerances or steps. A setting's error is its largest difference from a reference (SciPy's
DOP853 or Radau near 1e-13; how far a second method is from it stands in the JSON), relative to each output's peak. The
table takes of each method the cheapest setting within the problem's target, and none where no setting gets there.

    .venv/bin/python benchmarks/simulation.py [linear glucose operation stiff] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_work import draw
from common import RESULTS, machine, save, stored
from frame import Job, Side, SideError, difference, interleaved, ratio, sides
from ivp_problems import PROBLEMS, Ivp
from report import committed, compared, put, rows, table, told

TOLERANCES = (1e-3, 1e-4, 1e-6, 1e-8, 1e-10)
# side: script, peer's environment, patients at once (stiff: fewer), methods (stiff: others), the one problem it knows
SIDES: dict[str, dict[str, Any]] = {
    "doseloop": {"script": "doseloop_ivp.py", "peer": None, "patients": (512, 32)},
    "SciPy": {"script": "scipy_ivp.py", "peer": None, "patients": (2, 1), "methods": ("DOP853", "LSODA"),
              "stiff": ("LSODA", "BDF")},
    "numbalsoda": {"script": "numbalsoda_ivp.py", "peer": "numbalsoda", "patients": (64, 16),
                   "methods": ("DOP853", "LSODA"), "stiff": ("LSODA",)},
    "diffrax": {"script": "diffrax_ivp.py", "peer": "diffrax", "patients": (64, 4), "methods": ("Dopri8", "Tsit5"),
                "stiff": ("Kvaerno5",)},
    "CasADi": {"script": "casadi_ivp.py", "peer": "casadi", "patients": (4, 4), "methods": ("CVODES",),
               "stiff": ("CVODES",)},
    "simglucose": {"script": "simglucose_ivp.py", "peer": "simglucose", "patients": (1, 1), "only": "glucose"},
    "python-anesthesia-simulator": {"script": "anesthesia_ivp.py", "peer": "anesthesia", "patients": (8, 8),
                                    "only": "operation"},
}  # fmt: skip
REFERENCE = (4, 1)  # patients whose course is known to the last digits (stiff: fewer)
SLOW = 3.0  # s of processor: a setting that takes so long is run once more, not in every round


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


def reference(scipy: Side, q: Ivp, folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The first patients' outputs by SciPy near the last digits, and how far a second method is from them."""
    first, second = (
        ({"method": "Radau", "rtol": 1e-10, "atol": 1e-13}, {"method": "LSODA", "rtol": 1e-12, "atol": 1e-14})
        if q.stiff
        else ({"method": "DOP853", "rtol": 3e-14, "atol": 1e-15}, {"method": "LSODA", "rtol": 1e-13, "atol": 1e-14})
    )
    path = folder / "reference.npy"
    found = []
    for how in (first, second):
        scipy.run({**how, "patients": REFERENCE[q.stiff], "save": str(path)})
        found.append(np.load(path))
    return found[0], {"by": first, "beside": second, "difference": difference(found[1], found[0])}


def jobs_of(name: str, q: Ivp, found: dict[str, Side], tolerances: tuple[float, ...]) -> list[Job]:
    """Every side's methods at their settings; a job's name is ``side method @setting``."""
    out = []
    for side, how in SIDES.items():
        if side not in found or how.get("only", name) != name:
            continue
        n = how["patients"][q.stiff]
        if side == "doseloop":
            for way in q.ways:
                for setting in way.settings:
                    what = {"method": way.method, "setting": setting, "absolute": way.absolute, "patients": n}
                    out.append(Job(f"doseloop {way.name} @{setting:.3g}", found[side], what, n))
            continue
        for method in how.get("stiff" if q.stiff else "methods", ("",)):
            for rtol in tolerances if method else (0.0,):
                what = {"method": method, "rtol": rtol, "atol": rtol * 1e-2, "patients": n}
                out.append(Job(f"{side} {method} @{rtol:.0e}".replace("  @0e+00", ""), found[side], what, n))
    return out


def problem(name: str, rounds: int, tolerances: tuple[float, ...], without: list[str]) -> dict[str, Any]:
    """All sides on one problem, but those left out."""
    say(f"== {name}: the problem and its sides")
    load = round(os.getloadavg()[0], 2)
    q = PROBLEMS[name]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        q.write(folder)
        (folder / "name.txt").write_text(name, encoding="utf-8")
        wanted = [
            (k, s["script"], s["peer"]) for k, s in SIDES.items() if s.get("only", name) == name and k not in without
        ]
        with sides(wanted, folder, say) as found:
            say("  reference …")
            truth, about = reference(found["SciPy"], q, folder)
            jobs = jobs_of(name, q, found, tolerances)
            times, outputs, failed = interleaved(jobs, rounds, folder, slow=SLOW, progress=lambda t: say(f"  {t}"))
            versions = {k: s.versions for k, s in found.items()}
    points = [
        {"method": label.partition(" @")[0], "setting": label.partition(" @")[2], "patients": job.units,
         "difference": difference(outputs[label], truth), **times[label].summary()}
        for job in jobs if (label := job.name) in times
    ]  # fmt: skip
    failed |= {k: "not run" for k in without if SIDES[k].get("only", name) == name}
    lines = chosen(name, q.target, points, {j.name: times[j.name] for j in jobs if j.name in times}, failed)
    measured = {k: machine()[k] for k in ("processor", "load", "commit")} | {"load_before": load, "rounds": rounds}
    return {
        "title": q.title, "target": q.target, "measured": measured, "reference": about, "versions": versions,
        "lines": lines, "points": points, "failed": failed,
    }  # fmt: skip


def chosen(
    name: str, target: float, points: list[dict[str, Any]], times: dict[str, Any], failed: dict[str, str]
) -> list[dict[str, Any]]:
    """For each method its cheapest setting within the target, beside doseloop's cheapest."""
    best: dict[str, dict[str, Any]] = {}
    for point in points:
        kept = best.get(point["method"])
        good, before = point["difference"] <= target, kept is not None and kept["difference"] <= target
        cheaper = kept is None or point["cpu ms"]["median"] < kept["cpu ms"]["median"]
        nearer = kept is None or point["difference"] < kept["difference"]
        if (good and (not before or cheaper)) or (not good and not before and nearer):
            best[point["method"]] = point
    of = lambda p: times[f"{p['method']} @{p['setting']}" if p["setting"] else p["method"]]  # noqa: E731
    own = [p for m, p in best.items() if m.startswith("doseloop") and p["difference"] <= target]
    if not own:
        raise SideError(f"{name}: no setting of doseloop comes within {target:g}")
    mine = min(own, key=lambda p: p["cpu ms"]["median"])
    lines = []
    for method, p in best.items():
        line = {"name": f"{name}: {method}", "side": method.partition(" ")[0], **p}
        if p is not mine:
            line["ratio"] = ratio(of(p), of(mine), p["difference"], target)
        lines.append(line)
    gone = {label.partition(" @")[0] for label in failed} - set(best)
    why = {m: next(t for label, t in failed.items() if label.startswith(m)) for m in gone}
    return lines + [{"name": f"{name}: {m}", "side": m.partition(" ")[0], "failed": t} for m, t in why.items()]


def page(results: dict[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    out = []
    for name, r in results["problems"].items():
        lines = [x for x in results["lines"] if x["name"].startswith(f"{name}:")]
        body = [[cells[0].partition(": ")[2], *cells[1:]] for cells in rows(lines)]
        for cells, line in zip(body, lines):
            setting = line.get("setting")
            cells[0] += f" ({setting})" if setting and float(setting) else ""
        head = ["method (cheapest setting)", "difference", "processor ms a patient", "wall ms", "of doseloop's time"]
        out += [
            f"**{r['title']}.** Target {r['target']:.0e}; the reference's two methods differ by "
            f"{r['reference']['difference']:.0e}. {told(r['measured'])}",
            "",
            *table(head, body),
            "",
        ]
    return "\n".join([*out, "![accuracy and work of every method on the four problems](img/accuracy_work.png)"])


def main() -> None:
    """Run, save, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help=f"{', '.join(PROBLEMS)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two tolerances and two rounds, into out/")
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="PEER", help="peers to leave out", choices=[*SIDES][2:]
    )
    parser.add_argument("--write", action="store_true", help="measure nothing: the page and the figure from the JSON")
    args = parser.parse_args()
    unknown = set(args.problems) - set(PROBLEMS)
    if unknown or args.rounds < 1:
        parser.error(f"problems are {', '.join(PROBLEMS)}, rounds 1 or more")
    last = committed("simulation")
    folder = Path("out") if args.quick else RESULTS
    if not args.write:
        for name in args.problems or PROBLEMS:
            found = {
                name: problem(
                    name, 2 if args.quick else args.rounds, (1e-4, 1e-8) if args.quick else TOLERANCES, args.without
                )
            }
            # what is done stays, also where the next problem is stopped
            known = {**stored("simulation", folder).get("problems", {}), **found}
            results = {n: known[n] for n in PROBLEMS if n in known}
            lines = [line for r in results.values() for line in r["lines"]]
            now = save("simulation", {"lines": lines, "problems": results}, folder, threads=1)
        print(compared(now, last))
    else:
        now = {
            "problems": stored("simulation", folder).get("problems", {}),
            "lines": [x for r in stored("simulation", folder).get("problems", {}).values() for x in r["lines"]],
        }
    print("\n" + page(now))
    if not args.quick:
        put("simulation", page(now))
        draw(now["problems"], Path(__file__).parent.parent / "docs" / "img" / "accuracy_work.png")


if __name__ == "__main__":
    main()
