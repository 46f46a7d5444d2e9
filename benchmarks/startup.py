"""Start-up, each number from fresh processes: import, first recommendation, compilation model by model, memory.

Imports of peers stand beside, in their own environments. "Nothing compiled" is an empty cache folder, where event loops
(once per version of the code) and kernels (once per edit of a model) are compiled; "warm" finds both on disk. A model's
own compilation is timed after the loops are there, in a cache that holds no kernel of it.

    .venv/bin/python benchmarks/startup.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import RESULTS, save
from doseloop import models
from frame import ONE_THREAD, quartiles
from peers.environment import python_with
from report import committed, compared, number, put, table

ROOT = Path(__file__).parent.parent
AROUND = """
import json, resource, sys, time
wall, cpu = time.perf_counter(), time.process_time()
{work}
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
RECOMMEND = """
import doseloop as dl
therapy = dl.therapies.load({therapy!r})
record = dl.read({table!r}, therapy.layout)[0] if {table!r} else dl.example(therapy)[0]
assert dl.recommend(therapy, record).regimen is not None
"""
WARM = """
from doseloop import models
from doseloop.twin.warm import warm
warm(models.load({model!r}))
"""
IMPORTS: dict[str, tuple[str, str | None]] = {
    "doseloop": ("import doseloop", None),
    "doseloop, all that a simulation needs": (
        "import doseloop as dl; dl.simulate, dl.Regimen, dl.recommend; import doseloop.twin.posterior", None),
    "SciPy's solve_ivp": ("from scipy.integrate import solve_ivp", None),
    "numbalsoda": ("import numbalsoda", "numbalsoda"),
    "diffrax": ("import diffrax", "diffrax"),
    "CasADi": ("import casadi", "casadi"),
    "NumPyro": ("import numpyro", "numpyro"),
    "simglucose": ("from simglucose.patient.t1dpatient import T1DPatient", "simglucose"),
    "python-anesthesia-simulator": ("import python_anesthesia_simulator", "anesthesia"),
    "do-mpc": ("import warnings; warnings.simplefilter('ignore'); import do_mpc", "dompc"),
}  # fmt: skip
ADULT = str(ROOT / "examples" / "vancomycin.csv")
FIRST = {
    "phenobarbital, one model": RECOMMEND.format(therapy="phenobarbital", table=""),
    "vancomycin, three rival models": RECOMMEND.format(therapy="vancomycin", table=ADULT),
}


def fresh(work: str, python: Path | None = None, cache: Path | None = None) -> tuple[float, float, float]:
    """Wall s, processor s and largest memory (MB) of a piece of work in a new process; the interpreter not counted."""
    env = dict(os.environ | ONE_THREAD)
    if python is not None:
        env = {k: v for k, v in env.items() if not k.startswith("PYTHON")}
    if cache is not None:
        env |= {"DOSELOOP_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache / "numba")}
    done = subprocess.run(
        [python or sys.executable, "-c", AROUND.format(work=work)], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    wall, cpu, memory = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, memory


def line(name: str, side: str, runs: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """A line of the results: milliseconds of processor and wall, MB."""
    wall, cpu, memory = zip(*runs)
    return {
        "name": name, "side": side, "cpu ms": quartiles([1e3 * c for c in cpu]),
        "wall ms": quartiles([1e3 * w for w in wall]), "process MB": round(statistics.median(memory)),
    }  # fmt: skip


def turns(work: Mapping[str, tuple[str, Path | None]], count: int, kind: str) -> list[dict[str, Any]]:
    """Each piece of work in turn, A B A B …, after one round that warms the disk's cache."""
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in work}
    for r in range(count + 1):
        for name, (text, python) in work.items():
            print(f"  {kind}: round {r} of {count}, {name}", file=sys.stderr, flush=True)
            got = fresh(text, python)
            if r:
                runs[name].append(got)
    own = ("doseloop", *FIRST)
    return [line(f"{kind}: {n}", "doseloop" if n.startswith(own) else n, got) for n, got in runs.items()]


def measure(count: int) -> list[dict[str, Any]]:
    """All lines."""
    pythons = {name: (text, python_with(peer) if peer else None) for name, (text, peer) in IMPORTS.items()}
    there = {n: v for n, v in pythons.items() if IMPORTS[n][1] is None or v[1] is not None}
    lines = turns(there, count, "import")
    lines += turns({n: (text, None) for n, text in FIRST.items()}, count, "first recommendation, caches warm")
    with tempfile.TemporaryDirectory() as place:
        for name, text in FIRST.items():  # each with an empty folder
            print(f"  nothing compiled: {name}", file=sys.stderr, flush=True)
            runs = [fresh(text, cache=Path(place) / name.split(",")[0])]
            lines.append(line(f"first recommendation, nothing compiled: {name}", "doseloop", runs))
        base = Path(place) / "phenobarbital"
        fresh(WARM.format(model="phenobarbital_neonate_grasela1985"), cache=base)  # the loops
        fresh(WARM.format(model="theophylline_adult_boeckmann1994"), cache=base)
        shutil.rmtree(base / "kernels", ignore_errors=True)
        for k, model in enumerate(models.ids()):
            print(f"  compilation: {model} [{k + 1}/{len(models.ids())}]", file=sys.stderr, flush=True)
            lines += compilation(model, base, Path(place) / "one")
    return lines


def compilation(model: str, base: Path, own: Path) -> list[dict[str, Any]]:
    """A model made ready (`doseloop warm`) with loops but no kernel in the cache, and again with both."""
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(base, own)
    text = WARM.format(model=model)
    first, again = fresh(text, cache=own), fresh(text, cache=own)
    return [line(f"compiled: {model}", "doseloop", [first]), line(f"from the cache: {model}", "doseloop", [again])]


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    lines, m = results["lines"], results["machine"]
    by_name = {x["name"]: x for x in lines}

    def row(name: str, x: Mapping[str, Any]) -> list[str]:
        return [name, number(x["cpu ms"]["median"]), number(x["wall ms"]["median"]), str(x["process MB"])]

    first = [row(n, x) for n, x in by_name.items() if n.startswith(("import", "first"))]
    models_ = [
        [n.partition(": ")[2], *(number(v["cpu ms"]["median"]) for v in (x, other)), str(other["process MB"])]
        for n, x in by_name.items() if n.startswith("compiled: ")
        for other in [by_name[n.replace("compiled", "from the cache")]]
    ]  # fmt: skip
    return "\n".join(
        [
            f"{m['processor']}, load {m['load_before']} to {m['load']}, {m['rounds']} rounds in turn (once where "
            f"nothing is compiled), commit {m['commit']}.",
            "",
            *table(["what, in a new process", "processor ms", "wall ms", "MB"], first),
            "",
            *table(["model made ready", "compiled, processor ms", "from the cache", "MB then"], models_),
        ]
    )


def main() -> None:
    """Run, save, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="measure nothing: the page from the JSON")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("rounds: 1 or more")
    if args.write:
        now = json.loads((RESULTS / "startup.json").read_text(encoding="utf-8"))
    else:
        last, load = committed("startup"), round(os.getloadavg()[0], 2)
        lines = measure(args.rounds)
        now = save("startup", {"lines": lines}, threads=1, rounds=args.rounds, load_before=load)
        print(compared(now, last))
    print("\n" + page(now))
    put("startup", page(now))


if __name__ == "__main__":
    main()
