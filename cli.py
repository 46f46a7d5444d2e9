"""The commands: ``doseloop models | therapies | simulate | recommend | replay | validate | demo | loop``,
``cohort``, ``evaluate``, ``train``, ``bench``, ``warm``.

Exit codes: 0 done (a dose is recommended), 1 unexpected failure, 2 input that cannot be used (one error lists every
problem), 3 no dose is advised, 4 a replay differs. Answers go to stdout, errors and progress to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import commands
from .commands import BAD_INPUT, OK, UNEXPECTED, tell
from .pkpd.errors import DoseloopError

__all__ = ["main"]

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

LOOP = """examples:
  doseloop loop glucose                                an adult, a day, announced meals; the usual protocol beside
  doseloop loop glucose --group child --scenario unannounced --seed 3
  doseloop loop glucose --patient glucose_t1d_hovorka2004 --patients 50 --hours 72    another model as the patient
  doseloop loop propofol --patients 20                 operations: induction, then surgical stimulation (Struys 2004)
  doseloop loop anaesthesia                            two drugs, BIS and blood pressure; TCI of both beside

Patients are virtual, held out from tuning. The controller knows the population of its model, what the usual protocol
knows of a patient, the readings and what the pump confirmed. The guard passes or lowers every action."""

COHORT = """examples:
  doseloop cohort glucose --patients 1000                                  the usual protocol, a day, some two seconds
  doseloop cohort glucose --patients 1000000 --backend loky --workers 2 --out million --resume
  doseloop cohort glucose --patients 20000 --policy mpc --model glucose_t1d_hovorka2004 --group adult --out mpc
  doseloop cohort glucose --patients 1000000 --backend dask --cluster tcp://head:8786 --out /shared/million --resume

Patient k is the same person with the same day in a cohort of any size, in blocks of any size, on any backend. Each
block's scores are written by its worker, whole or not at all, so that memory does not grow with the cohort and a kill
costs the blocks under way: the same command with --resume goes on, with more --patients too, and refuses what was begun
with other settings or another version. On a cluster every worker must see --out under the same name.
The report has means, percentiles, who reaches the consensus targets, and endings, by group (docs/cohorts.md).
A patient and day by basal-bolus takes some 2 ms of a core (of that, drawing the person half), by MPC some 0.8 s."""

EVALUATE = """examples:
  doseloop evaluate vancomycin --patients 300                       usual protocol, nomogram, MPC; three arms
  doseloop evaluate glucose --policies usual,mpc,oracle --arms nominal,unannounced --patients 100
  doseloop evaluate glucose --policies usual,mpc,ppo,ppo+guard --patients 1000 --backend loky --workers 2
  doseloop evaluate propofol --policies usual,pid,mpc --patients 1000 --backend loky --workers 2 --resume

policies: random, zero, usual (the usual protocol), nomogram (vancomycin), pid (propofol), mpc, oracle; ppo, sac, …
(a shipped network: of its seeds the best in validation), ppo-3 (that seed), ppo-* (every seed), runs/x.npz (a file);
any of them with +guard: behind the predictive safety filter.
arms: nominal; shifted (people, sensors, counting); other (another published model as the patient); unannounced
(glucose: no meal is announced); unguarded (without the environment's own guard); all: the first three.

Lane k has one seed whoever plays, so that everybody meets the same patients, meals, stimuli and sensors, and every
episode is another patient of the test split. The report has means, interquartile means, worst 5 %, cost, clinical
scores and paired differences, with 95 % bootstrap intervals (docs/evaluation.md). Glucose by MPC takes some 0.8 s of
processor a patient and arm, propofol 1.5 s, the others milliseconds."""

TRAIN = """examples:
  doseloop train glucose --algo ppo --seeds 5            five networks, some two minutes of processor each
  doseloop train propofol --algo ppo --steps 500000      a first look
  doseloop train glucose --imitate --steps 0             what the MPC would do, learnt from it (DAgger), nothing more
  doseloop train vancomycin --imitate                    the same as a beginning, then PPO
  doseloop train glucose --lagrangian 5                  mean cost of an episode held to 5 by a multiplier on the cost
  doseloop train glucose --algo ppo --seeds 5 --resume   go on after a kill: what is lost is the round that was running

A policy learns on the train split, is examined on the validation split after every round and its best network is kept
as best.npz: weights and how they came about, read without executing anything and run without PyTorch. Hyperparameters
are one YAML file a task (policies/hyperparameters). Watch: tensorboard --logdir out. Judge: doseloop evaluate.
Needs pip install "doseloop[rl]"."""

BENCH = """examples:
  doseloop bench simulation                            four problems, six peers, some twenty minutes
  doseloop bench simulation stiff --rounds 3           one problem of it
  doseloop bench simulation --quick                    a first look, into out/
  doseloop bench twin --help                           the options of one benchmark
  doseloop bench all                                   every one in turn (make bench)

benchmarks:
{list}

Each writes JSON (machine, load, versions, commit) to benchmarks/results, prints a table, and compares with the last
committed result: lines that take 10 % more are marked. A peer runs in an environment of its own, made once from the
versions in benchmarks/peers; all processes are held to one thread, and take turns. Needs a checkout, not a wheel."""

VALIDATE = "examples:\n  doseloop validate phenobarbital\n  doseloop validate vancomycin --data levels.csv"


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    plain: Any = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    title = "A treatment digital twin for drug dosing: from doses and levels to the next dose, with reasons."
    top = argparse.ArgumentParser(prog="doseloop", formatter_class=plain, epilog=EPILOG, description=title)
    top.add_argument("--version", action="version", version=f"doseloop {__version__}")
    listed = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, examples: str = "") -> Any:
        made = listed.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=examples, formatter_class=plain
        )
        made.set_defaults(run=run)
        return made.add_argument

    model, therapy = "a model's id (doseloop models)", "a therapy's id (doseloop therapies)"
    units = "units that the header does not state"
    folder = {"metavar": "DIR", "default": "out", "help": "folder to write to (default: out)"}
    count: dict[str, Any] = {"type": int, "metavar": "N"}

    # fmt: off
    add = command("models", commands.models, "every model: drug, citation, states, parameters with units and source")
    add("id", nargs="?", metavar="ID", help="one model only")
    add("--json", action="store_true", help="as JSON")
    add = command("therapies", commands.therapies, "every therapy: purpose, goal, harms, limits with their sources")
    add("id", nargs="?", metavar="ID", help="one therapy only")
    add("--json", action="store_true", help="as JSON")
    add = command("simulate", commands.simulate, "a model under a regimen: a table and a plot", SIMULATE)
    add("model", metavar="MODEL", help=model)
    add("--dose", action="append", required=True, metavar="TEXT", help="what is given; may be repeated")
    add("--covariates", action="append", default=[], metavar="NAME=VALUE,…",
        help="in the model's units unless another is written; typical where not said")
    add("--until", metavar="TIME", help="end of the simulation (in the model's time unit)")
    add("--people", default=1, help="so many people, with their variability (default: the typical person)", **count)
    add("--seed", default=0, help="of the people (default: 0)", **count)
    add("--out", **folder)

    what = "the next doses for one patient, with fit, forecast and reasons"
    add = command("recommend", commands.recommend, what, RECOMMEND)
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

    what = "make a saved recommendation again: identical, or what differs (exit code 4)"
    add = command("replay", commands.replay, what)
    add("file", metavar="FILE.json", help="what recommend or demo wrote")
    what = "predict each level before it was measured: table, plots, JSON"
    add = command("validate", commands.validate, what, VALIDATE)
    add("therapy", metavar="THERAPY", help=therapy)
    add("--data", metavar="FILE.csv", help="patients' table (default: the data that ship with the therapy)")
    add("--units", metavar="COLUMN=UNIT,…", help=units)
    add("--draws", default=1000, help="proposals for each posterior (default: 1000)", **count)
    add("--seed", default=0, help="of the draws (default: 0)", **count)
    add("--out", **folder)

    add = command("demo", commands.demo, "recommend for a real phenobarbital infant: plot and JSON")
    add("--id", default="32", metavar="ID", help="which of the 59 infants (default: 32)")
    add("--out", **folder)
    add = command("loop", commands.loop, "a closed loop on virtual patients: live line, scores, plot, JSON", LOOP)
    add("therapy", metavar="THERAPY", choices=("anaesthesia", "glucose", "propofol"),
        help="glucose; propofol; anaesthesia (propofol and remifentanil)")
    add("--patients", default=1, help="so many virtual patients (default: 1)", **count)
    add("--hours", type=float, metavar="H", help="length (default: a day; an operation of one hour)")
    add("--scenario", metavar="NAME", help="glucose: counted (announced with the usual error; default), by weight "
        "(announced rightly), unannounced, none; propofol: struys2004 (default), step, dumont2009, random, none; "
        "anaesthesia: the same, step is the default")
    add("--group", metavar="NAME", help="glucose: adult (default), adolescent, child, all")
    add("--controller", metavar="NAME", help="mpc (default), or glucose: basal-bolus; propofol: pid, tci; "
        "anaesthesia: tci, tci-fixed")
    add("--model", metavar="ID", help="the model the controller believes in")
    add("--patient", metavar="ID", help="the model that the patient is")
    add("--beside", action=argparse.BooleanOptionalAction, default=True, help="run the usual protocol beside")
    add("--seed", default=0, help="of the world: sensors, meals, surgery (default: 0)", **count)
    add("--threads", default=1, help="for the computations (default: 1)", **count)
    add("--out", **folder)

    what = "a virtual cohort of any size under a policy, block by block: report, plot, JSON"
    add = command("cohort", commands.cohort, what, COHORT)
    add("therapy", metavar="THERAPY", choices=("glucose",), help="glucose")
    add("--patients", default=1000, help="so many virtual patients (default: 1000)", **count)
    add("--days", type=float, default=1.0, metavar="D", help="length (default: 1)")
    add("--policy", metavar="NAME", help="basal-bolus (default), mpc")
    add("--group", metavar="NAME", help="all (default: in turn), adult, adolescent, child")
    add("--scenario", metavar="NAME", help="meals, as in doseloop loop: counted (default), by weight, …")
    add("--patient", metavar="ID", help="the model that the patients are")
    add("--model", metavar="ID", help="the model that mpc believes in")
    add("--split", metavar="NAME", help="of the cohort: test (default), validation, train")
    add("--guard", action=argparse.BooleanOptionalAction, default=True, help="every action passes the guard")
    add("--seed", default=0, help="of the world: sensors and meals (default: 0)", **count)
    add("--block", help="patients of a block, one task of a worker (default: 2048, fewer for many days)", **count)
    add("--backend", metavar="NAME", default="serial", help="where blocks run: serial (default), loky, dask, ray")
    add("--workers", default=1, help="processes for loky, or of a cluster started here (default: 1)", **count)
    add("--cluster", metavar="ADDRESS", help="scheduler of a running Dask or Ray cluster")
    add("--resume", action="store_true", help="go on with what is in the folder; blocks that are there are kept")
    add("--out", **folder)

    add = command("evaluate", commands.evaluate, "policies on the same held-out patients: report, plot, JSON", EVALUATE)
    add("therapy", metavar="THERAPY", choices=("glucose", "propofol", "vancomycin", "phenobarbital"),
        help="glucose, propofol, vancomycin, phenobarbital")
    add("--policies", metavar="A,B,…", help="who plays (default: the usual protocols and mpc)")
    add("--arms", metavar="A,B,…", default="all", help="under what (default: all)")
    add("--patients", default=100, help="held-out patients, one episode each (default: 100)", **count)
    add("--seed", default=20_000, help="of the first lane (default: 20000)", **count)
    add("--backend", metavar="NAME", default="serial",
        help="where blocks of patients are played: serial (default), loky, dask, ray; the same bits on each")
    add("--workers", default=1, help="processes for loky, or of a cluster started here (default: 1)", **count)
    add("--cluster", metavar="ADDRESS", help="scheduler of a running Dask or Ray cluster")
    add("--resume", action="store_true", help="go on with what is in the folder; rows that are there are kept")
    add("--out", **folder)

    add = command("train", commands.train, "policies that learn: networks, curves, checkpoints", TRAIN)
    tasks = "glucose, glucose-history, glucose-unannounced, propofol, vancomycin, vancomycin-grid, phenobarbital"
    add("task", metavar="TASK", help=tasks)
    add("--algo", metavar="NAME", default="ppo", help="ppo (default), sac, tqc, recurrent_ppo")
    add("--seeds", default=1, help="so many runs (default: 1)", **count)
    add("--seed", default=0, help="of the first run (default: 0)", **count)
    add("--steps", help="decisions of all patients together (default: the task's file)", **count)
    add("--lagrangian", type=float, metavar="LIMIT", help="hold the mean cost of an episode to this limit")
    add("--imitate", action="store_true", help="begin as a pupil of the model-predictive controller")
    add("--resume", action="store_true", help="go on with the runs in the folder; those that are done are left")
    add("--threads", default=1, help="of PyTorch (default: 1)", **count)
    add("--out", **folder)

    width = max(map(len, commands.BENCHMARKS))
    names = "\n".join(f"  {name:<{width}}  {text}" for name, text in commands.BENCHMARKS.items())
    what = "benchmarks beside public peers: tables, JSON, what has become slower"
    add = command("bench", commands.bench, what, BENCH.replace("{list}", names))
    add("name", nargs="?", metavar="NAME", help="which (default: list them; all: every one)")
    add("rest", nargs=argparse.REMAINDER, metavar="…", help="options of that benchmark")

    command("warm", commands.warm, "compile the loops and the kernels of all models, once per machine")
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
        tell("stopped")
        return 130
    except (DoseloopError, OSError, UnicodeError) as error:
        from .pkpd.typed import words

        tell(f"doseloop: {words(error)}")
        return BAD_INPUT
    except Exception as error:
        if os.environ.get("DOSELOOP_DEBUG"):
            raise
        tell(f"doseloop: unexpected {type(error).__name__}: {error} (DOSELOOP_DEBUG=1 shows where; please report it)")
        return UNEXPECTED
