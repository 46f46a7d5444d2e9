"""The leaderboard: every policy of every environment on the same held-out patients, in every arm.

    .venv/bin/python benchmarks/leaderboard.py [glucose propofol …] [--arms nominal] [--workers 2]    (make leaderboard)

Each row is written to results/leaderboard_*.json as soon as it is known, and a row that is there is not played again
(``--fresh`` begins anew; a network that was trained anew is another row). At the end docs/leaderboard.md and the
README's table are written from the files; ``--write`` does only that. ``--quick`` (QUICK=1) plays a few patients into
out/ and prints the tables.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from doseloop.policies import network
from doseloop.policies.evaluation.arms import ARMS, ENVS
from doseloop.policies.evaluation.clinical import SHOWN
from doseloop.policies.evaluation.console import played
from doseloop.policies.evaluation.contestants import contestants, names
from doseloop.policies.evaluation.picture import plot
from doseloop.policies.evaluation.report import HOW, arm_tables, cell, table
from doseloop.policies.evaluation.saved import Saved
from doseloop.policies.evaluation.statistics import bootstrap, mean
from doseloop.policies.shield import GUARD

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "leaderboard.md"
BEGIN, END = "<!-- leaderboard: written by benchmarks/leaderboard.py -->", "<!-- end of leaderboard -->"
SEED = 20_000
ASIDE = ("random", "pid", "nomogram", f"usual{GUARD}")  # not in the README
WARDS = ("vancomycin", "phenobarbital")
# Patients of the nominal arm and of the others. A patient's day of glucose by MPC takes a second of processor, an
# operation one, a course on a ward a tenth to a third: some 136 minutes in all, shared by two cores.
PATIENTS = {"glucose": (1000, 200), "propofol": (1000, 200), "vancomycin": (1000, 400), "phenobarbital": (1000, 200)}
QUICK = {"glucose": (12, 6), "propofol": (12, 6), "vancomycin": (60, 60), "phenobarbital": (60, 60)}


def parts(therapy: str) -> dict[str, list[str]]:
    """The files of a therapy, and the arms that stand in each."""
    arms = [a.name for a in ARMS[ENVS[therapy]]]
    return {f"leaderboard_{therapy}": ["nominal"], f"leaderboard_{therapy}_arms": [a for a in arms if a != "nominal"]}


def policies(therapy: str, arm: str) -> list[str]:
    """Who plays: all protocols and controllers, of each algorithm the best seed in validation, bare and guarded; in the
    nominal arm, and where no meal is announced, all its seeds."""
    shipped = [n.removeprefix(f"{therapy}-") for n in network.shipped() if n.startswith(f"{therapy}-")]
    algorithms = list(dict.fromkeys(n.rpartition("-")[0] for n in shipped))
    # those that were trained without announcements play where none are made
    algorithms = [a for a in algorithms if a.startswith("unannounced") == (arm == "unannounced")]
    guarded = [*algorithms, "usual"]
    out = [*names(ENVS[therapy]), *algorithms, *(f"{a}+guard" for a in guarded)]
    return out + ([f"{a}-*" for a in algorithms] if arm in ("nominal", "unannounced") else [])


def play(therapy: str, arms: Sequence[str], folder: Path, sizes: tuple[int, int], fresh: bool, workers: int) -> None:
    """Play what is missing of a therapy."""
    env = ENVS[therapy]
    for (name, there), patients in zip(parts(therapy).items(), sizes):
        path, persons = folder / f"{name}.json", 2 * patients
        saved = Saved.read(path) if path.exists() and not fresh else Saved(env, patients, SEED, persons)
        if (saved.patients, saved.seed) != (patients, SEED):
            saved = Saved(env, patients, SEED, persons)
        for arm in (a for a in there if a in arms):
            start = time.perf_counter()
            who = [c.name for c in contestants(env, policies(therapy, arm))]
            # a network that has gone, or of which another seed is best now
            for key in [k for k in saved.rows if k[1] == arm and k[0] not in who]:
                del saved.rows[key], saved.about[key]
            missing = len([p for p in who if (p, arm) not in saved.rows])
            backend = "loky" if workers > 1 else "serial"
            saved = played(saved, who, [arm], path, backend=backend, workers=workers, size=64)
            saved.write(path)
            print(f"{therapy}, {arm}: {missing} rows in {time.perf_counter() - start:.0f} s", flush=True)


def kept(folder: Path, therapy: str) -> list[Saved]:
    """What is known of a therapy."""
    paths = [folder / f"{n}.json" for n in parts(therapy)]
    return [s for s in (Saved.read(p) for p in paths if p.exists()) if s.rows]


def short(saved: Saved) -> list[list[str]]:
    """The README's rows of one environment: return, the first two scores, cost; the page has the others."""
    shown = list(SHOWN[saved.env].items())[:2]
    rows, out = saved.of("nominal"), []
    best = {c.name for c in contestants(saved.env, [p for p in policies(of(saved), "") if p != "zero"])}
    for p, r in rows.items():
        if p in best and p not in ASIDE:
            told = [bootstrap(v, mean, r.group) for v in (r.returns, r.cost, *(r.scores[k] for k, _ in shown))]
            returns, cost, *scores = map(cell, told)
            label = str(saved.about[p, "nominal"].get("label", p))
            named = "; ".join(f"{what.label.removesuffix(', %')} {c}" for (_, what), c in zip(shown, scores))
            out.append([of(saved), label, returns, named, cost])
    return out


def of(saved: Saved) -> str:
    """The therapy of an environment."""
    return next(k for k, v in ENVS.items() if v == saved.env)


def page(folder: Path) -> str:
    """docs/leaderboard.md."""
    lines = [
        "# Leaderboard",
        "",
        "<!-- written by benchmarks/leaderboard.py: make leaderboard -->",
        "",
        HOW,
        "",
        "`make leaderboard` rebuilds it; every episode's return, seeds, versions and commits stand in "
        "benchmarks/results/leaderboard_*.json. What makes it fair, and what the arms and the guard are: "
        "[evaluation.md](evaluation.md). Simulation and research; not for dosing people.",
        "",
    ]
    for therapy in ENVS:
        for saved in kept(folder, therapy):
            for arm in saved.arms:
                body = arm_tables(saved, arm)
                commits = {str(saved.about[k].get("made", {}).get("commit", "")) for k in saved.rows if k[1] == arm}
                lines += [
                    body[0].replace("## ", f"## {therapy.capitalize()}, ", 1),
                    "",
                    f"{saved.patients} patients, seeds from {saved.seed}, commit {', '.join(sorted(commits))}.",
                    "",
                    *([f"![returns and profiles](img/{picture(therapy).name})", ""] if arm == "nominal" else []),
                    *body[2:],
                ]
    return "\n".join(lines)


def picture(therapy: str) -> Path:
    """Of the nominal arm."""
    return ROOT / "docs" / "img" / f"leaderboard_{therapy}.png"


def readme(text: str, folder: Path) -> str:
    """The README with its table between the markers."""
    body: list[str] = []
    for therapy in ENVS:
        for saved in kept(folder, therapy)[:1]:
            body += short(saved) if "nominal" in saved.arms else []
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    lines = table(["environment", "policy", "return", "scores", "cost"], body) if body else []
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"{END}{after}"


def write(folder: Path) -> None:
    """Write the page and the README's table."""
    PAGE.write_text(page(folder).rstrip() + "\n", encoding="utf-8")
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8"), folder), encoding="utf-8")
    print(f"written: {PAGE}, {path}")


def main() -> None:
    """Play and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help="therapies; default all")
    parser.add_argument("--arms", default="nominal,shifted,other,unannounced,unguarded")
    parser.add_argument(
        "--patients", type=int, help="of the nominal arm, in place of the usual number; others: a fifth"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--quick", action="store_true", help="a few patients, into out/")
    parser.add_argument("--write", action="store_true", help="play nothing")
    args = parser.parse_args()
    folder, sizes = (ROOT / "out", QUICK) if args.quick else (RESULTS, PATIENTS)
    folder.mkdir(exist_ok=True)
    which = [t for t in (*WARDS, "propofol", "glucose") if not args.which or t in args.which]
    if not args.write:
        start = time.perf_counter()
        if args.patients is not None:
            sizes = dict.fromkeys(which, (args.patients, max(2, args.patients // 5)))
        for arm in args.arms.split(","):  # the nominal arm of all first
            for therapy in which:
                play(therapy, [arm], folder, sizes[therapy], args.fresh and arm == "nominal", args.workers)
        print(f"played in {(time.perf_counter() - start) / 60:.1f} min")
    if args.quick:
        print(page(folder))
        return
    for therapy in which:
        for saved in kept(folder, therapy)[:1]:
            plot(saved, picture(therapy))
    write(folder)


if __name__ == "__main__":
    main()
