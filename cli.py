"""The commands: ``doseloop models | therapies | simulate | recommend | replay | validate | demo | warm``.

Exit codes: 0 done (a dose is recommended), 1 unexpected failure, 2 input that cannot be used (one error lists every
problem), 3 no dose is advised, 4 a replay differs. Answers go to stdout, errors and progress to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pkpd.errors import DoseloopError

if TYPE_CHECKING:
    from .controller.recommend import Recommendation
    from .pkpd.record import Record
    from .therapies import Therapy
    from .twin.warm import Watch

__all__ = ["main"]

OK, UNEXPECTED, BAD_INPUT, NO_DOSE, DIFFERS = range(5)

EPILOG = """examples:
  doseloop demo                                        a dose for a real infant, with plot and JSON
  doseloop recommend chart.csv --therapy vancomycin    a dose for your patient (docs/records.md: the table)
  doseloop replay out/chart.json                       is the same answer still given?
  doseloop simulate phenytoin_adult_grasela1983 --dose "300 mg oral every 24 h x 14"

exit codes: 0 done, or a dose is recommended; 1 unexpected failure; 2 input that cannot be used; 3 no dose is advised;
4 a replay differs. Decision support: a clinician confirms every dose."""

SIMULATE = """examples:
  doseloop simulate theophylline_adult_boeckmann1994 --dose "300 mg oral every 12 h x 10"
  doseloop simulate vancomycin_adult_goti2018 --dose "25 mg/kg iv over 2 h" \\
      --dose "1 g over 1 h at 12 h every 12 h x 6" --covariates weight=70,scr=1.1 --people 200 --seed 1
  doseloop simulate phenytoin_adult_grasela1983 --dose "300 mg oral every 24 h steady state" --until 240

A dose is AMOUNT [ROUTE] [over TIME | rate RATE] [at TIME] [every TIME [x COUNT]] [steady state]; units are always
written and are converted to the model's (doseloop models ID). A level at a dose's time is the one just before it."""

RECOMMEND = """examples:
  doseloop recommend examples/vancomycin.csv --therapy vancomycin
  doseloop recommend nicu.csv --therapy phenobarbital --id 7 --now 72 --start 84
  doseloop recommend chart.csv --therapy vancomycin --units TIME=h,AMT=mg,DV=mg/L --json > answer.json

The table is NONMEM-style (docs/records.md); times are on its own clock. Exit code 0: a dose is recommended, 3: none is
advised and the sentence says why, 2: the input cannot be used and one error lists every problem."""

VALIDATE = "examples:\n  doseloop validate phenobarbital\n  doseloop validate vancomycin --data levels.csv"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _compiling(say: Callable[[str], None] = _tell) -> Iterator[Watch]:
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


def _models(args: argparse.Namespace) -> int:
    from . import models
    from .pkpd.describe import model_dict, model_text

    return _print_all(args, [models.load(i) for i in ([args.id] if args.id else models.ids())], model_text, model_dict)


def _therapies(args: argparse.Namespace) -> int:
    from . import therapies
    from .controller.report import therapy_dict, therapy_text

    some = [therapies.load(i) for i in ([args.id] if args.id else therapies.ids())]
    return _print_all(args, some, therapy_text, therapy_dict)


def _simulate(args: argparse.Namespace) -> int:
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


def _recommend(args: argparse.Namespace) -> int:
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
        _tell(f"{therapy.purpose} {CONFIRM}")
    if out is not None:
        name = "record" if args.record == "-" else Path(args.record).stem
        name += "" if args.id is None else "-" + re.sub(r"[^\w.-]+", "_", args.id)
        files = ", ".join(map(str, _save(answer, out, name)))
        (_tell if args.json else print)(f"\nwritten: {files}")
    return OK if answer.outcome.gives else NO_DOSE


def _report(answer: Recommendation) -> str:
    from .controller.report import recommendation_text
    from .twin.diagnostics import diagnose

    return recommendation_text(answer, None if answer.posterior is None else diagnose(answer.posterior))


def _save(answer: Recommendation, out: Path, name: str) -> list[Path]:
    from .controller.plotting import plot_recommendation
    from .controller.saved import save

    return [plot_recommendation(answer, out / f"{name}.png"), save(answer, out / f"{name}.json")]


def _replay(args: argparse.Namespace) -> int:
    from .controller.report import CONFIRM
    from .controller.saved import replay
    from .pkpd.text import paragraph

    with _compiling():
        result = replay(args.file)
    print("\n".join([result.sentence, *(f"  {line}" for line in result.differences)]))
    told = [paragraph(result.again.therapy.purpose), "", paragraph(result.again.sentence, "→ ", "  "), f"  {CONFIRM}"]
    print("\n".join(["", *told]))
    return OK if result.identical else DIFFERS


def _validate(args: argparse.Namespace) -> int:
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


def _demo(args: argparse.Namespace) -> int:
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
                _tell(f"{what} …")
            bar.set_description_str(what)
            start = time.perf_counter()
            result = work()
            bar.update()
            return result, time.perf_counter() - start

        from .controller.recommend import recommend

        with _compiling(_tell if bar.disable else lambda text: bar.write(text, file=sys.stderr)) as watch:
            answer, first = timed("recommending, first run", lambda: recommend(therapy, infants[args.id]))
        _, warm = timed("recommending again", lambda: recommend(therapy, infants[args.id]))
        report, _ = timed("judging each level", lambda: _report(answer))
        files, _ = timed("drawing", lambda: _save(answer, out, "demo"))
    print(report)
    print(f"\nfirst recommendation: {first:.1f} s ({watch.sentence}); warm: {warm:.2f} s")
    print(f"written: {', '.join(map(str, files))}")
    return OK if answer.outcome.gives else NO_DOSE


def _warm(args: argparse.Namespace) -> int:
    from . import models
    from .pkpd.objects import cache_folder
    from .twin.warm import Watch, warm

    start, compiling, ids = time.perf_counter(), 0.0, models.ids()
    for i, name in enumerate(ids):
        begun = time.perf_counter()
        with Watch(_tell) as watch:
            warm(models.load(name))
        compiling += watch.seconds
        _tell(f"[{i + 1}/{len(ids)}] {name}: {watch.sentence} ({time.perf_counter() - begun:.1f} s)")
    print(
        f"warm in {time.perf_counter() - start:.1f} s, of which {compiling:.1f} s compiling; kept in {cache_folder()}"
    )
    return OK


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    plain: Any = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    title = "A treatment digital twin for drug dosing: from doses and levels to the next dose, with reasons."
    top = argparse.ArgumentParser(prog="doseloop", formatter_class=plain, epilog=EPILOG, description=title)
    top.add_argument("--version", action="version", version=f"doseloop {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, examples: str = "") -> Any:
        made = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=examples, formatter_class=plain
        )
        made.set_defaults(run=run)
        return made.add_argument

    model, therapy = "a model's id (doseloop models)", "a therapy's id (doseloop therapies)"
    units = "units that the header does not state"
    folder = {"metavar": "DIR", "default": "out", "help": "folder to write to (default: out)"}
    count: dict[str, Any] = {"type": int, "metavar": "N"}

    # fmt: off
    add = command("models", _models, "every model: drug, citation, states, parameters with units and source")
    add("id", nargs="?", metavar="ID", help="one model only")
    add("--json", action="store_true", help="as JSON")
    add = command("therapies", _therapies, "every therapy: purpose, goal, harms, limits with their sources")
    add("id", nargs="?", metavar="ID", help="one therapy only")
    add("--json", action="store_true", help="as JSON")
    add = command("simulate", _simulate, "a model under a regimen: a table and a plot", SIMULATE)
    add("model", metavar="MODEL", help=model)
    add("--dose", action="append", required=True, metavar="TEXT", help="what is given; may be repeated")
    add("--covariates", action="append", default=[], metavar="NAME=VALUE,…",
        help="in the model's units unless another is written; typical where not said")
    add("--until", metavar="TIME", help="end of the simulation (in the model's time unit)")
    add("--people", default=1, help="so many people, with their variability (default: the typical person)", **count)
    add("--seed", default=0, help="of the people (default: 0)", **count)
    add("--out", **folder)

    add = command("recommend", _recommend, "the next doses for one patient, with fit, forecast and reasons", RECOMMEND)
    add("record", metavar="RECORD.csv", help="the patient's table; - reads standard input")
    add("--therapy", required=True, metavar="ID", help=therapy)
    add("--id", metavar="ID", help="which patient, where the table holds several")
    add("--now", metavar="TIME", help="decide as at this time (default: the time of the last row)")
    add("--start", metavar="TIME", help="earliest time of the next dose (default: an interval after the last)")
    add("--verified", action="store_true", help="somebody has checked a level that the twin finds implausible")
    add("--units", metavar="COLUMN=UNIT,…", help=units)
    add("--encoding", metavar="NAME", help="of the file, where it is not UTF-8")
    add("--decimal", default=".", metavar="MARK", help="decimal mark, . or , (default: .)")
    add("--seed", default=0, help="of the posterior's draws (default: 0)", **count)
    add("--out", metavar="DIR", help="folder to write to (default: out; with --json nothing is written without it)")
    add("--json", action="store_true", help="the answer as JSON on standard output (can be replayed)")

    add = command("replay", _replay, "make a saved recommendation again: identical, or what differs (exit code 4)")
    add("file", metavar="FILE.json", help="what recommend or demo wrote")
    add = command("validate", _validate, "predict each level before it was measured: table, plots, JSON", VALIDATE)
    add("therapy", metavar="THERAPY", help=therapy)
    add("--data", metavar="FILE.csv", help="patients' table (default: the data that ship with the therapy)")
    add("--units", metavar="COLUMN=UNIT,…", help=units)
    add("--draws", default=1000, help="proposals for each posterior (default: 1000)", **count)
    add("--seed", default=0, help="of the draws (default: 0)", **count)
    add("--out", **folder)

    add = command("demo", _demo, "recommend for a real phenobarbital infant: plot and JSON")
    add("--id", default="32", metavar="ID", help="which of the 59 infants (default: 32)")
    add("--out", **folder)
    command("warm", _warm, "compile the loops and the kernels of all models, once per machine")
    # fmt: on
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        args = _parser().parse_args(argv)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse has said what is wrong, or printed its help
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except BrokenPipeError:  # the reader of our pipe has gone: nothing more to say, also at exit
        with contextlib.suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        _tell("stopped")
        return 130
    except (DoseloopError, OSError, UnicodeError) as error:
        from .pkpd.typed import words

        _tell(f"doseloop: {words(error)}")
        return BAD_INPUT
    except Exception as error:
        if os.environ.get("DOSELOOP_DEBUG"):
            raise
        _tell(f"doseloop: unexpected {type(error).__name__}: {error} (DOSELOOP_DEBUG=1 shows where; please report it)")
        return UNEXPECTED
