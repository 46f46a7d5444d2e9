"""`doseloop cohort`: a virtual cohort of any size under a policy; Markdown, PNG, JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...pkpd.typed import Problems, plain, writable
from ...virtual.draws import SPLITS
from ..scenes import SCENES
from ..sweep import faults
from .block import peak_memory
from .picture import plot
from .plan import DAY, Plan
from .report import report
from .run import run_cohort
from .summary import summarise

__all__ = ["cohort"]

BLOCK = 2048  # patients: some four seconds of work; a killed worker loses one
ROOM = 32768  # patients × days in a worker: 24 kB each while a block is scored, 800 MB


def cohort(args: argparse.Namespace) -> int:
    """Run the command; the arguments are those of ``doseloop cohort --help``."""
    from tqdm import tqdm

    problems, out = Problems(), Path()
    plan = _plan(args, problems)
    with problems.collect():
        out = writable(args.out)
    problems.done()
    start = time.perf_counter()
    with tqdm(
        total=args.patients, unit=" patients", file=sys.stderr, disable=None, mininterval=0.5, smoothing=0.1
    ) as bar:

        def progress(done: int, there: int) -> None:
            bar.initial = there  # those that were there before have no part in the speed
            bar.update(done - bar.n)

        ran = run_cohort(
            plan, args.patients, out, resume=args.resume, backend=args.backend, workers=args.workers,
            address=args.cluster, progress=progress,
        )  # fmt: skip
    running = time.perf_counter() - start
    found = summarise(plan, args.patients, out)
    took = {"patients": ran, "seconds": running, "workers": args.workers, "backend": args.backend}
    took |= {"summary_seconds": time.perf_counter() - start - running, "peak_memory_of_the_parent_mb": peak_memory()}
    files = [out / f"cohort{end}" for end in (".md", ".png", ".json")]
    text = report(plan, found)
    files[0].write_text(text + "\n", encoding="utf-8")
    plot(plan, found, files[1])
    data = {"plan": asdict(plan), "versions": plan.manifest()["versions"], "run": took, **found}
    files[2].write_text(json.dumps(plain(data), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    there = f", {args.patients - ran:,} were there" if ran < args.patients else ""
    print(f"{text}\n\n{ran:,} patients in {running:.1f} s{there}\nwritten: {', '.join(map(str, files))}")
    return 0


def _plan(args: argparse.Namespace, problems: Problems) -> Plan:
    """What is asked for, defaults filled in; what is wrong with it is noted."""
    scene, bad = SCENES[args.therapy](), problems.found

    def choose(option: str, value: str | None, known: tuple[str, ...], usual: Any) -> Any:
        if value is not None and value not in known:
            bad.append(f"--{option} {value}: there are {', '.join(known)}")
        return usual if value is None else value

    models = scene.therapy.model_ids
    interval = scene.therapy.interval
    decisions = DAY * args.days / interval
    days = args.days if 0 < args.days <= 90 and abs(decisions - round(decisions)) < 1e-9 else None
    if days is None:
        bad.append(f"--days {args.days:g}: above 0, at most 90, whole decisions of {interval:g} min")
    if args.model is not None and args.policy in (None, "basal-bolus"):
        bad.append(f"--model {args.model}: basal-bolus believes in no model")
    for option, value, least in (("patients", args.patients, 1), ("seed", args.seed, 0), ("block", args.block, 1)):
        if value is not None and value < least:
            bad.append(f"--{option} {value}: {least} or more")
    most = int(ROOM / max(days or 1.0, 1.0))
    if args.block is not None and args.block > most:
        bad.append(f"--block {args.block}: at most {most} patients of {days or 1:g} days in the memory of a worker")
    bad += faults(args.backend, args.workers, args.cluster)
    return Plan(
        therapy=args.therapy,
        model=choose("patient", args.patient, models, models[0]),
        split=choose("split", args.split, SPLITS, "test"),
        group=choose("group", args.group, scene.groups, "all"),
        surroundings=choose("scenario", args.scenario, scene.surroundings, scene.surroundings[0]),
        policy=choose("policy", args.policy, tuple(scene.policies), "basal-bolus"),
        believes=choose("model", args.model, models, None),
        guard=args.guard,
        days=float(days or 1.0),
        seed=args.seed,
        size=min(BLOCK, most) if args.block is None else args.block,
    )
