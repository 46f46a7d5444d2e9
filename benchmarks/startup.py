"""Start-up, each number from fresh processes: import, first recommendation, compilation model by model, memory.

Imports of peers stand beside, in their own environments. "Nothing compiled" is an empty cache folder, where event loops
(once per version of the code) and kernels (once per edit of a model) are compiled; "warm" finds both there. Models are
then made ready for simulation, fit and forecast (a model of loops: its march) with loops in the cache but no kernel.

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
from report import committed, compared, number, put, table, told

ROOT = Path(__file__).parent.parent
AROUND = """
import json, resource, sys, time
wall, cpu = time.perf_counter(), time.process_time()
{work}
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, globals().get("told")]))
"""
RECOMMEND = """
import doseloop as dl
therapy = dl.therapies.load({therapy!r})
record = dl.read({table!r}, therapy.layout)[0] if {table!r} else dl.example(therapy)[0]
assert dl.recommend(therapy, record).regimen is not None
"""
WARM = """
from doseloop import models
from doseloop.twin.warm import Watch, warm
model = models.load({model!r})
with Watch() as watch:
    warm(model)
told = [watch.loops, watch.kernels, watch.seconds]
"""
IMPORTS: dict[str, tuple[str, str | None]] = {
    "doseloop": ("import doseloop", None),
    "doseloop, all that a simulation needs": (
        "import doseloop as dl; dl.simulate, dl.Regimen, dl.recommend; import doseloop.twin.posterior", None),
    "SciPy's solve_ivp": ("from scipy.integrate import solve_ivp", None),
    "diffrax": ("import diffrax", "diffrax"),
    "CasADi": ("import casadi", "casadi"),
    "NumPyro": ("import numpyro", "numpyro"),
    "simglucose": ("from simglucose.patient.t1dpatient import T1DPatient", "simglucose"),
    "python-anesthesia-simulator": ("import python_anesthesia_simulator", "anesthesia"),
    "do-mpc": ("import warnings; warnings.simplefilter('ignore'); import do_mpc", "dompc"),
}  # fmt: skip
LONG = 5.0  # s of processor: measured once
ADULT = str(ROOT / "examples" / "vancomycin.csv")
FIRST = {
    "phenobarbital, one model": RECOMMEND.format(therapy="phenobarbital", table=""),
    "vancomycin, three rival models": RECOMMEND.format(therapy="vancomycin", table=ADULT),
}


def fresh(work: str, python: Path | None = None, cache: Path | None = None) -> list[Any]:
    """Wall s, processor s, largest memory (MB) and what is told of a piece of work in a new process.

    The interpreter's own start is not counted.
    """
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
    out: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return out


def line(name: str, side: str, runs: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A line of the results: milliseconds of processor and wall, MB."""
    wall, cpu, memory, *_ = zip(*runs)
    return {
        "name": name, "side": side, "cpu ms": quartiles([1e3 * c for c in cpu]),
        "wall ms": quartiles([1e3 * w for w in wall]), "process MB": round(statistics.median(memory)),
    }  # fmt: skip


def turns(work: Mapping[str, tuple[str, Path | None]], count: int, kind: str) -> list[dict[str, Any]]:
    """Each piece of work in turn, A B A B …, after one round that warms the disk's cache; what takes long, once."""
    runs: dict[str, list[list[Any]]] = {name: [] for name in work}
    for r in range(count + 1):
        for name, (text, python) in work.items():
            if runs[name] and runs[name][0][1] > LONG:
                continue
            print(f"  {kind}: round {r} of {count}, {name}", file=sys.stderr, flush=True)
            runs[name].append(fresh(text, python))
    kept = {n: got[1:] or got for n, got in runs.items()}
    own = ("doseloop", *FIRST)
    return [line(f"{kind}: {n}", "doseloop" if n.startswith(own) else n, got) for n, got in kept.items()]


def measure(count: int) -> list[dict[str, Any]]:
    """All lines."""
    pythons = {name: (text, python_with(peer) if peer else None) for name, (text, peer) in IMPORTS.items()}
    there = {n: v for n, v in pythons.items() if IMPORTS[n][1] is None or v[1] is not None}
    lines = turns(there, count, "import")
    lines += turns({n: (text, None) for n, text in FIRST.items()}, count, "first recommendation, caches warm")
    with tempfile.TemporaryDirectory() as place:
        base, (name, text) = Path(place) / "cache", next(iter(FIRST.items()))
        print(f"  nothing compiled: {name}", file=sys.stderr, flush=True)
        lines.append(line(f"first recommendation, nothing compiled: {name}", "doseloop", [fresh(text, cache=base)]))
        # its loops are there now, and those of the adaptive method; kernels are to be compiled
        fresh(WARM.format(model="theophylline_adult_boeckmann1994"), cache=base)
        for k, model in enumerate(models.ids()):
            print(f"  compilation: {model} [{k + 1}/{len(models.ids())}]", file=sys.stderr, flush=True)
            shutil.rmtree(base / "kernels", ignore_errors=True)
            run = fresh(WARM.format(model=model), cache=base)
            loops, kernels, seconds = run[3]
            about = {"loops": loops, "kernels": kernels, "compiling ms": 1e3 * seconds}
            lines.append(line(f"made ready: {model}", "doseloop", [run]) | about)
    return lines


def page(results: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    lines, m = results["lines"], results["machine"]
    by_name = {x["name"]: x for x in lines}

    def row(name: str, x: Mapping[str, Any]) -> list[str]:
        return [name, number(x["cpu ms"]["median"]), number(x["wall ms"]["median"]), str(x["process MB"])]

    first = [row(n, x) for n, x in by_name.items() if n.startswith(("import", "first"))]
    made = []
    for name, x in by_name.items():
        if name.startswith("made ready: "):
            times = (number(x["compiling ms"]), number(x["cpu ms"]["median"]))
            made.append([name.partition(": ")[2], f"{x['kernels']} ({x['loops']})", *times, str(x["process MB"])])
    head = ["model made ready", "kernels (loops)", "compiling, wall ms", "processor ms, all of it", "MB"]
    return "\n".join(
        [
            f"{told(m)} What takes more than {LONG:g} s, and what is compiled, is measured once.",
            "",
            *table(["what, in a new process", "processor ms", "wall ms", "MB"], first),
            "",
            *table(head, made),
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
        slowest = max((x for x in lines if "kernels" in x), key=lambda x: x["compiling ms"])
        found = {"lines": lines, "slowest model": slowest}
        now = save("startup", found, threads=1, rounds=args.rounds, load_before=load)
        print(compared(now, last))
    print("\n" + page(now))
    put("startup", page(now))


if __name__ == "__main__":
    main()
