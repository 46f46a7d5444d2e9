"""Mutation run of the safety room: break each line of it in every small way, and see the tests notice.

    python benchmarks/mutate.py [--jobs 2] [--only guard.py] [--least 95]

Each mutant is one change in one file of safety/, written to a folder of its own; the fast safety tests run on it in a
forked process with Numba's compiler off, and stop at the first failure. The checkout is not touched. Prints each
survivor with its line, then the score (kept in results/mutation.json if the whole room was run); exits with 1 under
the least score.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import importlib.util
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from common import save

os.environ["NUMBA_DISABLE_JIT"] = "1"

ROOT = Path(__file__).resolve().parents[1]
ROOM = ROOT / "safety"
# The tests that most likely notice come first.
TESTS = {
    "checks.py": ("limits", "edges"),
    "limits.py": ("limits", "edges"),
    "parts.py": ("limits", "edges"),
    "kernel.py": ("batch", "own"),
    "batch.py": ("batch", "own"),
    "ledger.py": ("ledger",),
    "compiled.py": ("compiled",),
}
OTHERWISE = ("edges", "limits")
# Processor time, so that a busy machine kills no mutant; the slowest tests take a tenth of it.
TIMEOUT_S = 30

COMPARE = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Every mutant of one node, the node's children left as they are."""

    def changed(**fields: object) -> ast.AST:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in COMPARE[type(op)]:
                    yield changed(ops=[*ops[:i], other(), *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield changed(op=ARITHMETIC[type(op)]())
            if isinstance(node, ast.AugAssign):
                yield ast.Pass()
        case ast.BoolOp(op=op, values=values):
            yield changed(op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for i in range(len(values)):
                yield changed(values=values[:i] + values[i + 1 :]) if len(values) > 2 else values[1 - i]
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield changed(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield changed(value=value + 1)
            yield changed(value=value - 1)
        case ast.Name(id=name) if name in NAMES:
            yield changed(id=NAMES[name])
        case ast.If(test=test) | ast.IfExp(test=test):
            yield changed(test=ast.UnaryOp(op=ast.Not(), operand=test))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield changed(value=ast.Constant(value=None))
        case ast.Expr(value=ast.Call()) | ast.Assign() | ast.Raise() | ast.Continue():
            yield ast.Pass()
        case ast.Return():
            yield ast.Pass()


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _skipped(node: ast.AST) -> bool:
    """Annotations, decorators, imports, and the list of public names: not what a test of behaviour can see."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every place below a node where a mutant may stand: parent, field, index."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params") or _skipped(node):
            continue
        for i, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST) and not _skipped(child):
                yield node, field, i
                yield from places(child)


def mutants(source: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, statement before and after, and the whole text of each mutant."""
    tree = ast.parse(source)
    statement: ast.stmt | None = None
    for parent, field, i in places(tree):
        slot = getattr(parent, field)
        child = slot if i is None else slot[i]
        last = isinstance(parent, ast.FunctionDef) and i == len(parent.body) - 1
        if last and isinstance(child, ast.Return) and (child.value is None or _is_none(child.value)):
            continue  # falling off the end returns None just the same
        if isinstance(child, ast.stmt):
            statement = child
        for new in variants(child):
            new = ast.copy_location(new, child)
            before = _first_line(statement, child)
            if i is None:
                setattr(parent, field, new)
            else:
                slot[i] = new
            after = _first_line(new if child is statement else statement, new)
            text = ast.unparse(ast.fix_missing_locations(tree))
            if i is None:
                setattr(parent, field, child)
            else:
                slot[i] = child
            yield getattr(child, "lineno", 0), before, after, text


def _first_line(statement: ast.AST | None, child: ast.AST) -> str:
    short = statement if statement is not None else child
    return ast.unparse(short).splitlines()[0][:150]


def survives(job: tuple[str, str, str]) -> bool:
    """Whether the tests pass on a mutant; runs in a process of its own."""
    name, text, tests = job
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    signal.setitimer(signal.ITIMER_PROF, TIMEOUT_S)
    warnings.simplefilter("error")
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder) / "doseloop" / "safety"
        shutil.copytree(Path(tests) / "safety", room)
        (room.parent / "__init__.py").touch()
        (room / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, folder)
        try:
            for test in TESTS.get(name, OTHERWISE):
                run_tests(Path(tests) / f"test_safety_{test}.py")
        # pytest.raises fails with a BaseException.
        except BaseException:
            return False
    return True


def run_tests(path: Path) -> None:
    """Call each test of a file with each of its parameters: pytest's own collection would take most of the time."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, test in list(vars(module).items()):
        if not name.startswith("test_") or "hypothesis" in name:
            continue
        sets: list[dict[str, object]] = [{}]
        for mark in getattr(test, "pytestmark", []):
            if mark.name != "parametrize":
                continue
            names, values = mark.args
            if isinstance(names, str):
                names, values = (names,), [(value,) for value in values]
            sets = [{**one, **dict(zip(names, row, strict=True))} for one in sets for row in values]
        for one in sets:
            test(**one)


def _forked(job: tuple[str, str, str], answer: Connection) -> None:
    answer.send(survives(job))
    answer.close()


def run(jobs: list[tuple[str, str, str]], width: int) -> Iterator[tuple[int, bool]]:
    """Index and survival of each job, ``width`` at a time; a process that dies has noticed the mutant."""
    fork = multiprocessing.get_context("fork")
    running: dict[int, tuple[BaseProcess, Connection]] = {}
    todo = list(enumerate(jobs))[::-1]
    while todo or running:
        while todo and len(running) < width:
            i, job = todo.pop()
            receive, send = fork.Pipe(duplex=False)
            started = fork.Process(target=_forked, args=(job, send))
            started.start()
            send.close()
            running[i] = started, receive
        time.sleep(0.005)
        for i, (process, receive) in list(running.items()):
            if not process.is_alive():
                try:
                    alive = bool(receive.recv())
                except EOFError:
                    alive = False
                process.join()
                del running[i]
                yield i, alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="one file of safety/")
    parser.add_argument("--least", type=float, default=95.0, help="least score, %%")
    options = parser.parse_args()
    import hypothesis  # noqa: F401  (loaded once here, so that no forked process loads it again)
    import numba  # noqa: F401
    import pytest  # noqa: F401

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as tests:
        for test in (ROOT / "tests").glob("test_safety_*.py"):
            shutil.copy(test, tests)
        compileall.compile_dir(tests, quiet=1)
        # One copy for all mutants: the checkout may be edited meanwhile.
        shutil.copytree(ROOM, Path(tests) / "safety", ignore=shutil.ignore_patterns("__pycache__"))
        found: list[tuple[str, int, str, str, str]] = []
        for path in sorted((Path(tests) / "safety").glob(options.only or "*.py")):
            source = path.read_text(encoding="utf-8")
            # The untouched file goes first: tests that fail without a mutant would count as a perfect score.
            found.append((path.name, 0, "", "", ast.unparse(ast.parse(source))))
            found += [(path.name, *mutant) for mutant in mutants(source)]
        jobs = [(name, text, tests) for name, _, _, _, text in found]
        killed, total, sound = 0, 0, True
        survivors: list[dict[str, object]] = []
        for i, alive in run(jobs, options.jobs):
            name, line, before, after, _ = found[i]
            if line == 0 and not before:
                if not alive:
                    sound = False
                    print(f"{name}: the tests fail without any mutant", flush=True)
                continue
            total += 1
            killed += not alive
            if alive:
                survivors.append({"file": name, "line": line, "before": before, "after": after})
                print(f"SURVIVED {name}:{line}\n    - {before}\n    + {after}", flush=True)
    score = 100.0 * killed / max(total, 1)
    if not options.only:
        save("mutation", {"mutants": total, "killed": killed, "score": score, "survivors": survivors})
    print(f"{killed} of {total} mutants killed ({score:.1f} %) in {time.perf_counter() - start:.0f} s")
    return 0 if sound and score >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
