"""The twin beside SciPy's optimisers on the same likelihood, and NUTS (NumPyro) as the posterior's truth.

MAP: each patient alone and in a cohort, from one start and from eight; BFGS, L-BFGS-B, trust-exact and Nelder-Mead on
doseloop's own compiled −log posterior. Posterior: 2,000 draws of a patient, time per 1,000 effective draws, and how far
mean, SD and 5, 50 and 95 % of every effect are from those of a long NUTS run, in posterior SDs. That both look at the
same likelihood is shown first: the largest difference of the two −log posteriors at points of the prior.

    .venv/bin/python benchmarks/twin.py [phenobarbital vancomycin phenytoin] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, save, stored
from frame import Job, Side, interleaved, ratio, sides
from report import committed, compared, number, put, rows, table, told
from twin_cases import CASES, Case

ALONE = 20  # patients fitted one by one
OPTIMISERS = ("BFGS", "L-BFGS-B", "trust-exact", "Nelder-Mead")
SAME_MAP = 1e-3  # prior SDs: up to where two optima are the same
SAME_POSTERIOR = 0.25  # posterior SDs: 2,000 draws scatter by 0.03 (mean) to 0.07 (5 %); the largest of some hundred
LIKELIHOOD = 1e-4  # largest difference of two −log posteriors that count as the same
DRAWS, MANY = 2_000, 20_000
REPORTED = ("mean", "SD", "5 %", "50 %", "95 %")


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


def asked(side: Side, folder: Path, **what: Any) -> np.ndarray:
    """The output of one job."""
    path = folder / "asked.npy"
    side.run({**what, "save": str(path)})
    got: np.ndarray = np.load(path)
    return got


def off_truth(got: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Largest distance of each reported number from the truth over patients and effects, in the truth's SDs."""
    off = np.abs(got[:, :5] - truth[: len(got), :5]) / truth[: len(got), 1:2]
    return dict(zip(REPORTED, off.max(axis=(0, 2)).tolist()))


def maps(case: Case, own: Side, scipy: Side, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """MAP: doseloop's ways and SciPy's, all beside the best optimum that any of them found."""
    n = len(case.records)
    ways = {
        "cohort, 1 start": n, "cohort, 8 starts": n, "alone, 1 start": ALONE, "alone, 8 starts": ALONE,
        "alone, 8 starts, from the record": ALONE,
    }  # fmt: skip
    jobs = [Job(f"doseloop MAP, {w}", own, {"what": w, "patients": k}, k) for w, k in ways.items()]
    jobs += [Job(f"SciPy {m}", scipy, {"what": m, "patients": ALONE}, ALONE) for m in OPTIMISERS]
    times, outputs, failed = interleaved(jobs, rounds, folder, progress=lambda t: say(f"  {t}"))
    found = {k: v[:ALONE] for k, v in outputs.items()}
    heights = {
        k: asked(own, folder, what="objective", patients=ALONE, eta=v[:, None].tolist()) for k, v in found.items()
    }
    best = np.min([h[:, 0] for h in heights.values()], axis=0)
    winner = {i: next(k for k in found if heights[k][i, 0] == best[i]) for i in range(ALONE)}
    optimum = np.array([found[winner[i]][i] for i in range(ALONE)])
    prior = np.sqrt(np.diag(case.model.omega))
    mine = times["doseloop MAP, alone, 8 starts"]
    lines = []
    for label, v in found.items():
        # a patient whose optimum is a worse one, or none, is counted; all others must be at the same point
        worse = heights[label][:, 0] > best + 1e-3
        differs = float((np.abs(v - optimum) / prior)[~worse].max(initial=0.0))
        line = {
            "name": label, "side": label.partition(" ")[0], **times[label].summary(), "difference": differs,
            "worse optimum": int(worse.sum()), "of": ALONE,
        }  # fmt: skip
        if line["side"] == "SciPy":
            line["ratio"] = ratio(times[label], mine, differs, SAME_MAP)
        lines.append(line)
    return lines + [{"name": k, "side": k.partition(" ")[0], "failed": t} for k, t in failed.items()]


def posteriors(case: Case, own: Side, nuts: Side | None, rounds: int, folder: Path) -> dict[str, Any]:
    """Posterior: time of 1,000 effective draws beside NUTS, and both beside a long NUTS run."""
    n, out = case.compared, {}
    if nuts is not None:
        rng = np.random.default_rng(4)
        eta = rng.standard_normal((n, 16, len(case.model.omega))) @ np.linalg.cholesky(case.model.omega).T
        a, b = (asked(s, folder, what="objective", patients=n, eta=eta.tolist()) for s in (own, nuts))
        same = float(np.abs(a - b).max())
        out["difference of −log posteriors"] = same
        if not same <= LIKELIHOOD:
            return out | {"lines": [], "refused": f"the two likelihoods differ by {same:.1e}: nothing is compared"}
        say(f"  −log posteriors differ by {same:.1e}; {case.truth} draws of NUTS for each of {n} patients …")
        truth = asked(nuts, folder, what="NUTS", patients=n, draws=case.truth, seed=1)
        out["truth"] = {"draws": case.truth, "fewest effective": float(truth[:, 5].min()),
                        "largest R-hat": float(truth[:, 6].max())}  # fmt: skip
        many = asked(own, folder, what="posterior", patients=n, draws=MANY)
        out[f"doseloop, {MANY:,} draws, off the truth in posterior SDs"] = off_truth(many, truth)
    jobs = [Job(f"doseloop posterior, {DRAWS:,} draws", own, {"what": "posterior", "patients": n, "draws": DRAWS}, n)]
    if nuts is not None:
        jobs.append(Job(f"NumPyro NUTS, {DRAWS:,} draws", nuts, {"what": "NUTS", "patients": n, "draws": DRAWS}, n))
    times, outputs, failed = interleaved(jobs, rounds, folder, slow=20.0, progress=lambda t: say(f"  {t}"))
    lines: list[dict[str, Any]] = []
    for job in jobs:
        if job.name not in times:
            continue
        draws = outputs[job.name]
        line = {"name": job.name, "side": job.name.partition(" ")[0], **times[job.name].summary()}
        line |= {"fewest effective draws": float(draws[:, 5].min())}
        line |= {"ms per 1,000 effective draws": 1e3 * line["cpu ms"]["median"] / float(np.median(draws[:, 5, 0]))}
        if nuts is not None:
            line["off the truth"] = off_truth(draws, truth)
            line["difference"] = max(line["off the truth"].values())
        lines.append(line)
    if len(lines) == 2:
        r = ratio(times[jobs[1].name], times[jobs[0].name], lines[0]["difference"], SAME_POSTERIOR)
        if "median" in r:  # of equal effective draws
            share = lines[1]["ms per 1,000 effective draws"] / lines[0]["ms per 1,000 effective draws"] / r["median"]
            r = {k: v * share for k, v in r.items()}
        lines[1]["ratio"] = r
    return out | {"lines": lines, "failed": failed}


def measure(name: str, rounds: int, nuts: bool) -> dict[str, Any]:
    """All of one case."""
    case, load = CASES[name](), round(os.getloadavg()[0], 2)
    say(f"== {case.title}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        case.write(folder)
        (folder / "name.txt").write_text(name, encoding="utf-8")
        wanted: list[tuple[str, str, str | None]] = [("doseloop", "doseloop_twin.py", None)]
        wanted += [("SciPy", "doseloop_twin.py", None)]
        wanted += [("NumPyro", "numpyro_twin.py", "numpyro")] if nuts else []
        with sides(wanted, folder, say) as found:
            lines = maps(case, found["doseloop"], found["SciPy"], rounds, folder)
            rest = posteriors(case, found["doseloop"], found.get("NumPyro"), rounds, folder)
            versions = {k: s.versions for k, s in found.items()}
    lines = [{**x, "name": f"{name}: {x['name']}"} for x in (*lines, *rest.pop("lines"))]
    measured = {k: machine()[k] for k in ("processor", "load", "commit")} | {"load_before": load, "rounds": rounds}
    return {"title": case.title, "measured": measured, "versions": versions, "lines": lines, **rest}


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    out = []
    for r in results["cases"].values():
        out += [f"**{r['title'][0].upper()}{r['title'][1:]}.** {told(r['measured'])}", ""]
        found = [x for x in r["lines"] if "worse optimum" in x]
        body = [[*cells[:3], f"{x['worse optimum']} of {x['of']}", cells[4]] for cells, x in zip(rows(found), found)]
        head = [
            "MAP of a patient",
            "off the best, prior SDs",
            "processor ms",
            "ended in a worse optimum",
            "of ours, alone",
        ]
        out += [*table(head, [[c[0].partition(": ")[2], *c[1:]] for c in body]), ""]
        drawn = [x for x in r["lines"] if "fewest effective draws" in x]
        body = []
        for x in drawn:
            off = x.get("off the truth", {})
            cells = [x["name"].partition(": ")[2], number(x["cpu ms"]["median"]), f"{x['fewest effective draws']:,.0f}"]
            cells += [number(x["ms per 1,000 effective draws"]), *(f"{off[k]:.3f}" if off else "" for k in REPORTED)]
            times = x.get("ratio", {})
            body.append([*cells, times.get("refused", f"{number(times['median'])} ×" if "median" in times else "")])
        head = ["posterior of a patient", "processor ms", "fewest effective", "ms per 1,000 effective"]
        out += [*table([*head, *(f"{k} off" for k in REPORTED), "of ours"], body), ""]
        if "truth" in r:
            t = r["truth"]
            far = r[f"doseloop, {MANY:,} draws, off the truth in posterior SDs"]
            out += [
                f"Distances are the largest over patients and effects, in posterior SDs, from {t['draws']:,} draws of "
                f"NUTS each (at least {t['fewest effective']:,.0f} effective, R-hat at most "
                f"{t['largest R-hat']:.3f}). With {MANY:,} draws doseloop's are "
                f"{', '.join(f'{far[k]:.3f} ({k})' for k in REPORTED)}. The two −log "
                f"posteriors differ by {r['difference of −log posteriors']:.0e} at most.",
                "",
            ]
        elif "refused" in r:
            out += [r["refused"], ""]
    return "\n".join(out)


def main() -> None:
    """Run, save, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-nuts", action="store_true", help="the optimisers alone, no truth of the posterior")
    parser.add_argument("--write", action="store_true", help="measure nothing: the page from the JSON")
    args = parser.parse_args()
    if set(args.cases) - set(CASES) or args.rounds < 1:
        parser.error(f"cases are {', '.join(CASES)}, rounds 1 or more")
    if args.write:
        now = json.loads((RESULTS / "twin.json").read_text(encoding="utf-8"))
    else:
        last = committed("twin")
        for name in args.cases or CASES:
            known = {**stored("twin").get("cases", {}), name: measure(name, args.rounds, not args.without_nuts)}
            results = {n: known[n] for n in CASES if n in known}
            now = save(
                "twin", {"lines": [x for r in results.values() for x in r["lines"]], "cases": results}, threads=1
            )
        print(compared(now, last))
    print("\n" + page(now))
    put("twin", page(now))


if __name__ == "__main__":
    main()
