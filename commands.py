"""What each command does; `cli` reads the command line and calls these.

Every function takes the parsed arguments and returns the exit code. Answers go to stdout, errors and progress to
stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pkpd.errors import DoseloopError

if TYPE_CHECKING:
    from .controller.recommend import Recommendation
    from .pkpd.record import Record
    from .therapies import Therapy
    from .twin.warm import Watch

__all__ = [
    "BENCHMARKS",
    "bench",
    "cohort",
    "demo",
    "evaluate",
    "loop",
    "models",
    "recommend",
    "replay",
    "simulate",
    "tell",
    "therapies",
    "train",
    "validate",
    "warm",
]

OK, UNEXPECTED, BAD_INPUT, NO_DOSE, DIFFERS = range(5)

# what `doseloop bench` knows: scripts of a checkout's benchmarks/ and what each measures
BENCHMARKS = {
    "simulation": "accuracy and work beside SciPy, numbalsoda, diffrax, CasADi, simglucose, …: four problems",
    "twin": "MAP and posterior beside SciPy's optimisers, and NUTS (NumPyro) as the posterior's truth",
    "startup": "import, first recommendation, compilation of each model, memory; peers' imports beside",
    "population": "10,000 people at once: exact, adaptive, irregular times, two threads",
    "recommendation": "a recommendation end to end, a grid of doses and intervals, a new model compiled",
    "mpc": "the controllers' step over a replayed day, many patients at once, hard cold starts",
    "mpc_peers": "the same step beside do-mpc, CasADi + IPOPT, rockit + fatrop; horizon, scenarios, late steps",
    "estimators": "a patient followed sample by sample: time, and truth in the bands",
    "envs": "steps a second of the environments against their number, beside simglucose and others",
    "training": "where PPO's time goes: environment, network, learning, bookkeeping",
    "to_score": "PPO's time to the usual protocol's score and halfway to the MPC's (some fifteen minutes)",
    "world": "the compiled simulators alone, and whole worlds",
    "scale": "a million virtual patients for a day: workers, Dask, memory, a kill (some 40 minutes of two quiet cores)",
}


def tell(text: str) -> None:
    """Say something on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _compiling(say: Callable[[str], None] = tell) -> Iterator[Watch]:
    """Says so where a first run compiles."""
    from .twin.warm import Watch

    with Watch(say) as watch:
        yield watch
    if watch.loops:
        say(watch.sentence)


def _print_all(args: argparse.Namespace, items: Sequence[Any], text: Callable[[Any], str], values: Any) -> int:
    from .pkpd.typed import plain

    print(json.dumps(plain([values(i) for i in items]), indent=1) if args.json else "\n\n\n".join(map(text, items)))
    return OK


def models(args: argparse.Namespace) -> int:
    """Every model, or one."""
    from . import models
    from .pkpd.describe import model_dict, model_text

    return _print_all(args, [models.load(i) for i in ([args.id] if args.id else models.ids())], model_text, model_dict)


def therapies(args: argparse.Namespace) -> int:
    """Every therapy, or one."""
    from . import therapies
    from .controller.report import therapy_dict, therapy_text

    some = [therapies.load(i) for i in ([args.id] if args.id else therapies.ids())]
    return _print_all(args, some, therapy_text, therapy_dict)


def simulate(args: argparse.Namespace) -> int:
    """A model under a regimen."""
    from . import models
    from .pkpd.dosetext import read_covariates, read_doses
    from .pkpd.narrate import run
    from .pkpd.typed import Problems, read_time, writable

    problems, model, until, out = Problems(), models.load(args.model), None, Path()
    covariates, regimen = model.typical_covariates, None
    with problems.collect():
        covariates = read_covariates(args.covariates, model)
    with problems.collect():
        until = read_time(args.until, model.time_unit, "--until")
    with problems.collect():
        regimen = read_doses(args.dose, model, covariates, until)
    if args.people < 1 or args.seed < 0 or (args.people > 1 and not model.effects):
        problems.found.append(f"--people {args.people} --seed {args.seed}: 1 or more people, a seed of 0 or more")
    with problems.collect():
        out = writable(args.out)
    problems.done()
    assert regimen is not None
    with _compiling():
        told = run(model, regimen, covariates, until=until, people=args.people, seed=args.seed)
    print(told.text)
    print(f"\nwritten: {', '.join(map(str, told.write(out)))}")
    return OK


def _patient(args: argparse.Namespace, therapy: Therapy, units: dict[str, str]) -> Record:
    """The one patient asked for, as known at --now."""
    from .pkpd.nonmem import read
    from .pkpd.typed import read_time

    source = sys.stdin.buffer.read() if args.record == "-" else Path(args.record)
    records = read(source, therapy.layout, units=units, encoding=args.encoding, decimal=args.decimal)
    listed = ", ".join(r.id for r in records[:60]) + (", …" if len(records) > 60 else "")
    if args.id is None and len(records) > 1:
        raise DoseloopError(f"{args.record} holds {len(records)} patients: choose one by --id: {listed}")
    record = next((r for r in records if args.id in (None, r.id)), None)
    if record is None:
        raise DoseloopError(f"{args.record} holds no patient --id {args.id}; it holds {listed or 'none'}")
    now = read_time(args.now, therapy.layout.time_unit, "--now")
    return record if now is None else record.until(now) if now <= record.now else replace(record, now=now)


def recommend(args: argparse.Namespace) -> int:
    """The next doses for one patient."""
    from . import therapies
    from .controller.recommend import Options, recommend
    from .controller.report import CONFIRM
    from .controller.saved import to_dict
    from .pkpd.typed import Problems, read_time, read_units, writable

    problems = Problems()
    therapy, record, start, out, units = None, None, None, None, {}
    with problems.collect():
        therapy = therapies.load(args.therapy)
    with problems.collect():
        units = read_units(args.units)
    if therapy is not None:
        with problems.collect():
            record = _patient(args, therapy, units)
        with problems.collect():
            start = read_time(args.start, therapy.layout.time_unit, "--start")
    elif args.record != "-" and not Path(args.record).is_file():
        problems.found.append(f"{args.record}: No such file or directory")
    if args.out is not None or not args.json:
        with problems.collect():
            out = writable(args.out or "out")
    if record is not None and start is not None and start < record.now:
        problems.found.append(f"--start {start:g} lies before now ({record.now:g}): doses can only be given later")
    if args.seed < 0:
        problems.found.append(f"--seed {args.seed}: 0 or more")
    problems.done()
    assert therapy is not None and record is not None  # noqa: PT018 (what `done` has made sure of)
    with _compiling():
        answer = recommend(therapy, record, Options(seed=args.seed, start=start, verified=args.verified))
        print(json.dumps(to_dict(answer), indent=1, allow_nan=False) if args.json else _report(answer))
    if args.json:
        tell(f"{therapy.purpose} {CONFIRM}")
    if out is not None:
        name = "record" if args.record == "-" else Path(args.record).stem
        name += "" if args.id is None else "-" + re.sub(r"[^\w.-]+", "_", args.id)
        files = ", ".join(map(str, _save(answer, out, name)))
        (tell if args.json else print)(f"\nwritten: {files}")
    return OK if answer.outcome.gives else NO_DOSE


def _report(answer: Recommendation) -> str:
    from .controller.report import recommendation_text
    from .twin.diagnostics import diagnose

    return recommendation_text(answer, None if answer.posterior is None else diagnose(answer.posterior))


def _save(answer: Recommendation, out: Path, name: str) -> list[Path]:
    from .controller.plotting import plot_recommendation
    from .controller.saved import save

    return [plot_recommendation(answer, out / f"{name}.png"), save(answer, out / f"{name}.json")]


def replay(args: argparse.Namespace) -> int:
    """A saved answer, made again."""
    from .controller.report import CONFIRM
    from .controller.saved import replay
    from .pkpd.text import paragraph

    with _compiling():
        result = replay(args.file)
    print("\n".join([result.sentence, *(f"  {line}" for line in result.differences)]))
    told = [paragraph(result.again.therapy.purpose), "", paragraph(result.again.sentence, "→ ", "  "), f"  {CONFIRM}"]
    print("\n".join(["", *told]))
    return OK if result.identical else DIFFERS


def validate(args: argparse.Namespace) -> int:
    """Each level predicted before it was measured."""
    from tqdm import tqdm

    from . import example, therapies
    from .controller.report import CONFIRM
    from .pkpd.nonmem import read
    from .pkpd.text import paragraph
    from .pkpd.typed import Problems, plain, read_units, writable
    from .twin.validate import plot_predicted_vs_observed, plot_vpc, walk_forward

    problems, therapy, out = Problems(), therapies.load(args.therapy), Path()
    records: list[Record] = []
    with problems.collect():
        records = read(Path(args.data), therapy.layout, units=read_units(args.units)) if args.data else example(therapy)
    with problems.collect():
        out = writable(args.out)
    if args.draws < 100 or args.seed < 0:
        problems.found.append(f"--draws {args.draws} --seed {args.seed}: 100 draws or more, a seed of 0 or more")
    problems.done()
    start = time.perf_counter()
    shared: dict[str, Any] = {"output": therapy.output, "prior_weights": therapy.prior_weights}
    with _compiling(), tqdm(total=len(records), unit="patient", file=sys.stderr, disable=None) as bar:
        result = walk_forward(
            therapy.models, records, draws=args.draws, seed=args.seed,
            progress=lambda done, of: bar.update(done - bar.n), **shared,
        )  # fmt: skip
    head = f"Each level predicted before it was measured, {len(records)} patients ({', '.join(result.models)})"
    print(f"{paragraph(therapy.purpose)}\n\n{paragraph(head)}\n\n{result.table()}")
    files = [out / f"validate-{therapy.id}{end}" for end in (".png", "-vpc.png", ".json")]
    plot_predicted_vs_observed(result, files[0])
    plot_vpc(therapy.models, records, files[1], seed=args.seed, **shared)
    files[2].write_text(json.dumps(plain(result.to_dict()), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"\n{CONFIRM}\nwritten in {time.perf_counter() - start:.1f} s: {', '.join(map(str, files))}")
    return OK


def demo(args: argparse.Namespace) -> int:
    """A dose for a real infant."""
    from tqdm import tqdm

    from . import example, therapies
    from .pkpd.typed import writable

    out, therapy = writable(args.out), therapies.load("phenobarbital")
    infants = {r.id: r for r in example(therapy)}
    if args.id not in infants:
        raise DoseloopError(f"there is no infant --id {args.id}; there are {', '.join(infants)}")
    shape = "{desc}: {bar} {n}/{total}, {elapsed}"
    with tqdm(total=4, file=sys.stderr, disable=None, leave=False, bar_format=shape) as bar:

        def timed(what: str, work: Callable[[], Any]) -> tuple[Any, float]:
            if bar.disable:
                tell(f"{what} …")
            bar.set_description_str(what)
            start = time.perf_counter()
            result = work()
            bar.update()
            return result, time.perf_counter() - start

        from .controller.recommend import recommend

        with _compiling(tell if bar.disable else lambda text: bar.write(text, file=sys.stderr)) as watch:
            answer, first = timed("recommending, first run", lambda: recommend(therapy, infants[args.id]))
        _, warm = timed("recommending again", lambda: recommend(therapy, infants[args.id]))
        report, _ = timed("judging each level", lambda: _report(answer))
        files, _ = timed("drawing", lambda: _save(answer, out, "demo"))
    print(report)
    print(f"\nfirst recommendation: {first:.1f} s ({watch.sentence}); warm: {warm:.2f} s")
    print(f"written: {', '.join(map(str, files))}")
    return OK if answer.outcome.gives else NO_DOSE


def warm(args: argparse.Namespace) -> int:
    """Compile everything, once per machine."""
    from . import models
    from .pkpd.objects import cache_folder
    from .twin.warm import Watch, warm

    start, compiling, ids = time.perf_counter(), 0.0, models.ids()
    for i, name in enumerate(ids):
        begun = time.perf_counter()
        with Watch(tell) as watch:
            warm(models.load(name))
        compiling += watch.seconds
        tell(f"[{i + 1}/{len(ids)}] {name}: {watch.sentence} ({time.perf_counter() - begun:.1f} s)")
    print(
        f"warm in {time.perf_counter() - start:.1f} s, of which {compiling:.1f} s compiling; kept in {cache_folder()}"
    )
    return OK


def loop(args: argparse.Namespace) -> int:
    """A closed loop on virtual patients."""
    from .policies.console import loop as run

    with _compiling():
        return run(args)


def bench(args: argparse.Namespace) -> int:
    """One benchmark, or all, or their list."""
    import os
    import subprocess

    width = max(map(len, BENCHMARKS))
    if args.name is None:
        print("\n".join(f"{name:<{width}}  {text}" for name, text in BENCHMARKS.items()))
        return OK
    folder = Path(__file__).parent / "benchmarks"
    if args.name not in (*BENCHMARKS, "all"):
        raise DoseloopError(f"there is no benchmark '{args.name}'; there are all, {', '.join(BENCHMARKS)}")
    if args.name == "all" and args.rest:
        raise DoseloopError(f"options belong to one benchmark, not to all: {' '.join(args.rest)}")
    if not folder.is_dir():
        raise DoseloopError(
            "the benchmarks are not in an installed doseloop: they need a checkout of its repository (make bench there)"
        )
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    code = OK
    for name in BENCHMARKS if args.name == "all" else [args.name]:
        tell(f"== {name}: {BENCHMARKS[name]}")
        done = subprocess.run([sys.executable, folder / f"{name}.py", *args.rest], env=os.environ | one, check=False)
        if done.returncode and args.name == "all":
            tell(f"{name} failed (exit code {done.returncode}); the others go on")
        code = code or done.returncode
    return code


def cohort(args: argparse.Namespace) -> int:
    """A virtual cohort of any size under a policy."""
    from .policies.cohort.console import cohort as run

    with _compiling():
        return run(args)


def evaluate(args: argparse.Namespace) -> int:
    """Policies on the same held-out patients."""
    from .policies.evaluation.console import evaluate as run

    with _compiling():
        return run(args)


def train(args: argparse.Namespace) -> int:
    """Policies that learn."""
    from .policies.training.console import train as run

    def bridge() -> Any:
        from .envs.sb3 import SB3VecEnv

        return SB3VecEnv

    with _compiling():
        return run(args, bridge)
