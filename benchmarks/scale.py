"""A virtual cohort of a million patients: a day of closed loop by basal-bolus on S2008, kept on disk block by block.

Asked for: 1 → 2 workers at least 1.8 times as fast, a two-worker Dask cluster at most 10 % slower than loky's
processes, memory that does not grow with the cohort, and a kill that costs at most the blocks under way. Every run is
the command `doseloop cohort` in a process of its own, so that its memory is its own. The comparisons take a tenth of
the patients, interleaved; the last run takes all of them. A kill is SIGKILL to the run's whole process group, workers
too.

    .venv/bin/python benchmarks/scale.py [--patients 1000000] [--rounds 2] [--quick] [--keep FOLDER]

On two quiet cores a million takes some 20 minutes, and as long again for the comparisons and the kill at --rounds 2.
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
from pathlib import Path
from typing import Any

from common import RESULTS, save, show

YEAR, CORES = 365.0, 100
WAYS = {"1 worker": ("loky", 1), "2 workers": ("loky", 2), "2 workers, Dask": ("dask", 2)}


def command(patients: int, out: Path, way: str, block: int) -> list[str]:
    """The command line of a run."""
    backend, workers = WAYS[way]
    run = ["cohort", "glucose", "--patients", patients, "--days", 1, "--policy", "basal-bolus", "--block", block]
    run += ["--backend", backend, "--workers", workers, "--resume", "--out", out]
    return [sys.executable, "-m", "doseloop", *map(str, run)]


def measured(patients: int, out: Path, way: str, block: int) -> dict[str, Any]:
    """Run it; what its JSON tells, and the seconds of the whole process beside."""
    start = time.perf_counter()
    subprocess.run(command(patients, out, way, block), check=True, stdout=subprocess.DEVNULL, env=threads())
    told = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    work = told["work"]
    return {
        "patients": patients,
        "seconds": told["run"]["seconds"],
        "process_seconds": time.perf_counter() - start,
        "patients_a_second": told["run"]["patients"] / told["run"]["seconds"],
        "summary_seconds": told["run"]["summary_seconds"],
        "worker_seconds": sum(work["seconds"].values()),
        "worker_cpu_seconds": work["cpu_seconds"],
        "worker_peak_mb": work["peak_memory_of_a_worker_mb"],
        "parent_peak_mb": told["run"]["peak_memory_of_the_parent_mb"],
        "processes": work["processes"],
        "split": {k: v / sum(work["seconds"].values()) for k, v in work["seconds"].items()},
        "digest": told["digest"],
        "blocks_mb": sum(p.stat().st_size for p in out.glob("block-*.npz")) / 1e6,
        "results": {"scores": told["scores"]["all"], "targets": told["targets"], "ended": told["ended"]["all"]},
    }


def threads() -> dict[str, str]:
    """The environment, one thread to a process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return os.environ | dict.fromkeys(names, "1")


def killed(patients: int, out: Path, block: int) -> dict[str, Any]:
    """Kill a run of two workers when half of its blocks are there, and go on: what was lost, and the same bits?"""
    blocks = -(-patients // block)
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
    return {
        "patients": patients,
        "blocks": blocks,
        "there_at_the_kill": len(there),
        "kept": kept,
        "run_again": len(there) - kept,
        "left_halves": len(list(out.glob("*.part"))),
        "most_lost_patients": WAYS["2 workers"][1] * block,
        "digest": again["digest"],
    }


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2, help="of the comparisons (default: 2)")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="4,000 patients in small blocks, one round, into out/")
    parser.add_argument("--keep", type=Path, help="keep the big cohort's blocks and report in this folder")
    args = parser.parse_args()
    patients, rounds, block = (4000, 1, 100) if args.quick else (args.patients, args.rounds, args.block)
    with tempfile.TemporaryDirectory() as name:
        found = benchmark(patients, rounds, block, Path(name), args.keep or Path(name) / "all")
    told(found)
    save("scale", found, Path("out") if args.quick else RESULTS)


def benchmark(patients: int, rounds: int, block: int, here: Path, big: Path) -> dict[str, Any]:
    """All of it; ``here`` for what is thrown away, ``big`` for the whole cohort."""
    few = max(1, patients // 10)
    measured(min(few, 2 * block), here / "warm", "2 workers", block)  # compiles what is not compiled yet
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for k in range(rounds):
        for way in WAYS:
            runs[way].append(measured(few, here / f"{way}-{k}", way, block))
            print(f"{way}: {runs[way][-1]['seconds']:.1f} s for {few:,}", file=sys.stderr, flush=True)
    kill = killed(few, here / "killed", block)
    whole = measured(patients, big, "2 workers", block)
    seconds = {way: [r["seconds"] for r in r_s] for way, r_s in runs.items()}
    one, two, dask = (statistics.median(seconds[way]) for way in WAYS)
    small = runs["2 workers"][-1]
    digests = {r["digest"] for r_s in runs.values() for r in r_s} | {kill["digest"]}
    drawn = whole["split"]["drawing"]
    year = whole["worker_seconds"] * (drawn + YEAR * (1 - drawn)) * (1_000_000 / patients) / CORES
    return {
        "patients": patients,
        "compared_on": few,
        "block": block,
        "seconds": seconds,
        "speedup_of_2_workers": one / two,
        "dask_over_loky": dask / two,
        "same_bits": len(digests) == 1,
        "kill": kill | {"same_bits": kill["digest"] == small["digest"]},
        "memory_mb": {
            "worker": {"tenth": small["worker_peak_mb"], "all": whole["worker_peak_mb"]},
            "parent": {"tenth": small["parent_peak_mb"], "all": whole["parent_peak_mb"]},
        },
        "whole": whole,
        "ms_a_patient": 1000.0 * whole["worker_seconds"] / patients,
        "cpu_ms_a_patient": 1000.0 * whole["worker_cpu_seconds"] / patients,
        "extrapolated": {
            "what": f"a million persons, drawn once, for {YEAR:g} days on {CORES} cores like these: the workers' "
            "seconds of this day, shared out evenly; nothing of it was run",
            "hours": year / 3600.0,
        },
    }


def told(found: dict[str, Any]) -> None:
    """Print it."""
    whole, kill, memory = found["whole"], found["kill"], found["memory_mb"]
    show(
        [
            (
                f"{found['patients']:,} patients, 2 workers",
                f"{whole['seconds']:.0f} s, {whole['patients_a_second']:.0f} patients/s",
            ),
            (
                "of a patient: a worker's time, processor",
                f"{found['ms_a_patient']:.2f}, {found['cpu_ms_a_patient']:.2f} ms",
            ),
            ("split", ", ".join(f"{k} {v:.0%}" for k, v in whole["split"].items())),
            (f"1 → 2 workers ({found['compared_on']:,} patients)", f"{found['speedup_of_2_workers']:.2f} × (aim 1.8)"),
            ("Dask, two workers, beside loky", f"{found['dask_over_loky']:.3f} of its time (aim 1.1)"),
            ("memory of a worker, a tenth and all", "{tenth:.0f}, {all:.0f} MB".format(**memory["worker"])),
            ("memory of the parent", "{tenth:.0f}, {all:.0f} MB".format(**memory["parent"])),
            ("the same bits on every way", str(found["same_bits"])),
            (
                "kill -9 in the middle",
                f"{kill['there_at_the_kill']} of {kill['blocks']} blocks were there, {kill['run_again']} run again; "
                f"same bits: {kill['same_bits']}",
            ),
            ("a million for a year on 100 cores (extrapolated)", f"{found['extrapolated']['hours']:.1f} h"),
        ]
    )


if __name__ == "__main__":
    main()
