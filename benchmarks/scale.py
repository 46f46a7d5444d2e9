"""A virtual cohort of a million patients: a day of closed loop by basal-bolus on S2008, kept on disk block by block.

Asked for: 1 → 2 workers at least 1.8 times as fast, a two-worker Dask cluster at most 10 % slower than loky's
processes, memory that does not grow with the cohort, and a kill that costs at most the blocks under way. Every run is
the command `doseloop cohort` in a process of its own, so that its memory is its own.

Ways are compared on a 25th of the patients, in turns, many times: the processor's own speed changes by a third within
minutes where the machine is shared. Beside the seconds of the whole command stands the pace of its blocks, from the
first that each worker ends to the last but as many: a cluster's start, which a million patients pay but once, is told
apart. A kill is SIGKILL to the run's whole process group, workers too.

    .venv/bin/python benchmarks/scale.py [ways kill whole] [--rounds 6] [--patients 1000000] [--quick] [--keep FOLDER]

On two quiet cores a million takes some 15 minutes, the ways 15, the kill 2.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS, machine, save, show, stored
from frame import quartiles

YEAR, CORES = 365.0, 100
PARTS = ("ways", "kill", "whole")
WAYS = {"1 worker": ("loky", 1), "2 workers": ("loky", 2), "2 workers, Dask": ("dask", 2)}


def command(patients: int, out: Path, way: str, block: int) -> list[str]:
    """The command line of a run."""
    backend, workers = WAYS[way]
    run = ["cohort", "glucose", "--patients", patients, "--days", 1, "--policy", "basal-bolus", "--block", block]
    run += ["--backend", backend, "--workers", workers, "--resume", "--out", out]
    return [sys.executable, "-m", "doseloop", *map(str, run)]


def pace(ends: list[float], block: int, workers: int) -> float:
    """Patients/s between the ends of blocks, without the first and the last of each worker.

    Raises:
        ValueError: fewer than two blocks are left.
    """
    inside = sorted(ends)[workers - 1 : len(ends) - workers + 1]
    if len(inside) < 2:
        raise ValueError(f"{len(ends)} blocks are too few to tell the pace of {workers} workers")
    return (len(inside) - 1) * block / (inside[-1] - inside[0])


def measured(patients: int, out: Path, way: str, block: int) -> dict[str, Any]:
    """Run it; what its JSON tells, the seconds of the whole process, and the pace of its blocks."""
    start = time.perf_counter()
    subprocess.run(command(patients, out, way, block), check=True, stdout=subprocess.DEVNULL, env=threads())
    took = time.perf_counter() - start
    told = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    work, blocks = told["work"], sorted(out.glob("block-*.npz"))
    return {
        "patients": patients,
        "seconds": told["run"]["seconds"],
        "process_seconds": took,
        "patients_a_second": told["run"]["patients"] / told["run"]["seconds"],
        "pace": pace([p.stat().st_mtime for p in blocks], block, WAYS[way][1]),
        "summary_seconds": told["run"]["summary_seconds"],
        "worker_seconds": sum(work["seconds"].values()),
        "worker_cpu_seconds": work["cpu_seconds"],
        "worker_peak_mb": work["peak_memory_of_a_worker_mb"],
        "parent_peak_mb": told["run"]["peak_memory_of_the_parent_mb"],
        "processes": work["processes"],
        "split": {k: v / sum(work["seconds"].values()) for k, v in work["seconds"].items()},
        "digest": told["digest"],
        "blocks_mb": sum(p.stat().st_size for p in blocks) / 1e6,
        "results": {"scores": told["scores"]["all"], "targets": told["targets"], "ended": told["ended"]["all"]},
    }


def threads() -> dict[str, str]:
    """The environment, one thread to a process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return os.environ | dict.fromkeys(names, "1")


def killed(patients: int, here: Path, block: int) -> dict[str, Any]:
    """Kill a run of two workers when half of its blocks are there, and go on: what was lost, and the same bits?"""
    blocks, out = -(-patients // block), here / "killed"
    run = subprocess.Popen(
        command(patients, out, "2 workers", block), start_new_session=True, env=threads(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while len(list(out.glob("block-*.npz"))) < blocks // 2:
        if run.poll() is not None:
            raise RuntimeError(f"the run ended before it was killed, code {run.returncode}")
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)  # a group of its own: the run and its workers
    run.wait()
    time.sleep(1.0)
    there = {p: p.stat().st_mtime_ns for p in out.glob("block-*.npz")}
    again = measured(patients, out, "2 workers", block)
    kept = sum(p.stat().st_mtime_ns == when for p, when in there.items())
    undisturbed = measured(patients, here / "undisturbed", "2 workers", block)
    return {
        "patients": patients,
        "blocks": blocks,
        "there_at_the_kill": len(there),
        "kept": kept,
        "run_again": len(there) - kept,
        "left_halves": len(list(out.glob("*.part"))),
        "most_lost_patients": WAYS["2 workers"][1] * block,
        "same_bits": again["digest"] == undisturbed["digest"],
        "worker_peak_mb": undisturbed["worker_peak_mb"],
        "parent_peak_mb": undisturbed["parent_peak_mb"],
    }


def compared(patients: int, rounds: int, here: Path, block: int) -> dict[str, Any]:
    """One worker, two, two of Dask, in turns: ratios of each round, of paces and of whole commands."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for k in range(rounds):
        for way in WAYS:
            runs[way].append(measured(patients, here / f"{way}-{k}", way, block))
            r = runs[way][-1]
            told = f"round {k + 1} of {rounds}, {way}: {r['seconds']:.1f} s, {r['pace']:.0f} patients/s"
            print(told, file=sys.stderr, flush=True)
    one, two, dask = (runs[way] for way in WAYS)
    ratios = lambda above, below, key: quartiles([a[key] / b[key] for a, b in zip(above, below)])  # noqa: E731
    return {
        "patients": patients,
        "block": block,
        "rounds": rounds,
        "seconds": {way: [r["seconds"] for r in rs] for way, rs in runs.items()},
        "pace": {way: [r["pace"] for r in rs] for way, rs in runs.items()},
        "speedup": {"pace": ratios(two, one, "pace"), "command": ratios(one, two, "seconds")},
        "dask_over_loky": {"pace": ratios(two, dask, "pace"), "command": ratios(dask, two, "seconds")},
        "start_and_end_s": {
            way: statistics.median(r["seconds"] - r["patients"] / r["pace"] for r in rs) for way, rs in runs.items()
        },
        "same_bits": len({r["digest"] for rs in runs.values() for r in rs}) == 1,
    }


def extrapolated(whole: Mapping[str, Any]) -> dict[str, Any]:
    """A year of a million patients on a hundred cores."""
    drawn = whole["split"]["drawing"]
    seconds = whole["worker_seconds"] * (drawn + YEAR * (1 - drawn)) * (1_000_000 / whole["patients"]) / CORES
    return {
        "what": f"a million persons, drawn once, for {YEAR:g} days on {CORES} cores like these: the workers' seconds "
        "of this day, shared out evenly; nothing of it was run",
        "hours": seconds / 3600.0,
    }


def told(found: Mapping[str, Any]) -> None:
    """Print what is known."""
    rows = []
    if whole := found.get("whole"):
        rows += [
            (f"{whole['patients']:,} patients, 2 workers",
             f"{whole['seconds']:.0f} s, {whole['patients_a_second']:.0f} patients/s"),
            ("of a patient: a worker's time, processor",
             f"{whole['ms_a_patient']:.2f}, {whole['cpu_ms_a_patient']:.2f} ms"),
            ("split", ", ".join(f"{k} {v:.0%}" for k, v in whole["split"].items())),
            ("memory of a worker, of the parent", f"{whole['worker_peak_mb']:.0f}, {whole['parent_peak_mb']:.0f} MB"),
            ("a million for a year on 100 cores (extrapolated)", f"{whole['year']['hours']:.1f} h"),
        ]  # fmt: skip
    if ways := found.get("ways"):
        rows += [
            (
                f"{name}: of the blocks' pace, of the commands",
                f"{r['pace']['median']:.3f}, {r['command']['median']:.3f}",
            )
            for name, r in (("1 → 2 workers", ways["speedup"]), ("Dask's time over loky's", ways["dask_over_loky"]))
        ]
        ends = ", ".join(f"{k} {v:.1f}" for k, v in ways["start_and_end_s"].items())
        rows += [("seconds to start and end", ends), ("the same bits on every way", str(ways["same_bits"]))]
    if kill := found.get("kill"):
        rows += [
            ("kill -9 in the middle", f"{kill['there_at_the_kill']} of {kill['blocks']} blocks were there, "
             f"{kill['run_again']} run again; same bits: {kill['same_bits']}"),
            (f"memory at {kill['patients']:,}: a worker, the parent",
             f"{kill['worker_peak_mb']:.0f}, {kill['parent_peak_mb']:.0f} MB"),
        ]  # fmt: skip
    show(rows)


def main() -> None:
    """Run and save, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
    parser.add_argument("--patients", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=6, help="of the comparison (default: 6)")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="10,000 patients in small blocks, one round, into out/")
    parser.add_argument("--keep", type=Path, help="keep the whole cohort's blocks and report in this folder")
    args = parser.parse_args()
    if set(args.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    patients, rounds, block = (10_000, 1, 40) if args.quick else (args.patients, args.rounds, args.block)
    folder = Path("out") if args.quick else RESULTS
    found = stored("scale", folder)
    found.pop("machine", None)
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        measured(4 * block, here / "warm", "2 workers", block)  # compiles what is not compiled yet
        for part in args.parts or PARTS:
            if part == "ways":
                got = compared(max(8 * block, patients // 25), rounds, here, block)
            elif part == "kill":
                got = killed(max(8 * block, patients // 25), here, block)
            else:
                got = measured(patients, args.keep or here / "all", "2 workers", block)
                got |= {f"{k}ms_a_patient": 1e3 * got[f"worker_{k}seconds"] / patients for k in ("", "cpu_")}
                got["year"] = extrapolated(got)
            about = {k: machine()[k] for k in ("load", "commit")}
            found = save("scale", {**{k: v for k, v in found.items() if k != "machine"}, part: got | about}, folder)
    told(found)


if __name__ == "__main__":
    main()
