"""Is anything hot slower than it was? This tree against another commit, case by case.

Two processes, one of each tree, do the same work on the same inputs in turns (A B A B …), timed by processor time: the
median of the paired ratios with its 95 % interval, which is exact for a median. Where valgrind is installed, also the
instructions of each case, counted by callgrind in code for one fixed processor: these hardly depend on the machine or
on what else runs. A case is flagged from 10 % more on.

    .venv/bin/python benchmarks/regress.py [--base COMMIT] [--tree FOLDER] [--rounds 31] [--only PART …] [--counts no]

Without ``--base`` the other commit is the last one where the tree has changes, else where this branch left main, else
the one before. It tells and saves nothing, unless by ``--save``; 1 is returned where something is flagged or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import BytesIO
from math import comb
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).resolve().parent / "regress_worker.py"
SLOWER = 1.10
ROUND = 0.02  # s of processor for a case in a round


@dataclass(frozen=True)
class Ratio:
    """This tree's cost over the other's: median of pairs, 95 % interval, what it means."""

    median: float
    low: float
    high: float
    verdict: str


def order_interval(n: int, coverage: float = 0.95) -> int:
    """k such that the k-th least and k-th greatest of n hold the median with this probability; at least 1."""
    k, tail = 0, 0.0
    while k < n // 2:
        tail += comb(n, k) / 2.0**n
        if 2 * tail > 1 - coverage:
            break
        k += 1
    return max(1, k)


def compare(now: Sequence[float], then: Sequence[float]) -> Ratio:
    """Paired costs to a ratio and a verdict: "slower" from `SLOWER` on where the interval lies above 1, "unclear" where
    it does not, "faster" for the reverse of slower, else "same"."""
    ratios = sorted(a / b for a, b in zip(now, then, strict=True))
    k = order_interval(len(ratios))
    median, low, high = statistics.median(ratios), ratios[k - 1], ratios[-k]
    verdict = "same"
    if median >= SLOWER:
        verdict = "slower" if low > 1 else "unclear"
    elif median <= 1 / SLOWER and high < 1:
        verdict = "faster"
    return Ratio(median, low, high, verdict)


def counted(folder: Path) -> dict[str, float]:
    """Instructions of one run of each case, from callgrind's dumps of N and of 2N runs."""
    totals: dict[str, dict[int, int]] = {}
    for path in folder.glob("callgrind.out*"):
        text = path.read_text(encoding="utf-8", errors="replace")
        label = re.search(r"^desc: Trigger: Client Request: (.*)\|(\d+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)", text, re.MULTILINE)
        if label and total:
            totals.setdefault(label[1], {})[int(label[2])] = int(total[1])
    out = {}
    for name, found in totals.items():
        few = min(found)
        out[name] = (found[2 * few] - found[few]) / few
    return out


class Side:
    """One tree: how its worker is started, and what it answers."""

    def __init__(self, tree: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "doseloop").symlink_to(tree)
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "DOSELOOP_THREADS"), "1")
        self.environment = os.environ | one | {"PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}
        self.folder = folder

    def start(self, wanted: list[str]) -> dict[str, Any]:
        """Start the worker; what is ready, and what is not, and why."""
        self.process = subprocess.Popen(
            [sys.executable, WORKER, *wanted],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"the worker of {self.folder.name} ended with {self.process.wait()}")
        return json.loads(line)

    def seconds(self, name: str, times: int) -> float:
        """Processor time of a case, so many times."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([name, times]) + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def stop(self) -> None:
        """End the worker."""
        self.process.communicate()

    def instructions(self, wanted: list[str]) -> dict[str, float]:
        """Counted by callgrind, after a run without it that compiles what is not yet compiled."""
        dumps = self.folder / "dumps"
        dumps.mkdir()
        command = [sys.executable, WORKER, "--count", *wanted]
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--smc-check=all-non-file"]
        for before in ([], [*valgrind, f"--callgrind-out-file={dumps / 'callgrind.out'}"]):
            done = subprocess.run(
                [*before, *command], env=self.environment, cwd=self.folder, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(map(str, before[:1] + command))}:\n{done.stderr[-2000:]}")
        return counted(dumps)


def base_of(root: Path) -> str:
    """The commit to compare with."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True).stdout.strip()

    head, left = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "main")
    if git("status", "--porcelain", "--untracked-files=no"):
        return head
    return left if left and left != head else git("rev-parse", "HEAD~1")


def fetched(root: Path, commit: str, into: Path) -> Path:
    """A commit's files in a folder of their own."""
    into.mkdir()
    packed = subprocess.run(["git", "-C", root, "archive", commit], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(into, filter="data")
    return into


def timed(now: Side, then: Side, wanted: list[str], rounds: int) -> tuple[dict[str, Ratio], dict[str, str]]:
    """Paired ratios of processor time, and the cases that one of the two cannot run."""
    told = [now.start(wanted), then.start(wanted)]
    failed = {n: f"fails at the other commit: {why}" for n, why in told[1]["failed"].items()}
    failed |= {n: f"fails here: {why}" for n, why in told[0]["failed"].items()}
    names = [n for n in told[0]["ready"] if n in told[1]["ready"]]
    times = {}
    for name in names:
        times[name] = 1
        while (spent := then.seconds(name, times[name])) < ROUND / 2:
            times[name] = max(times[name] * 2, min(times[name] * 16, int(ROUND / max(spent, 1e-6) * times[name])))
    found: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in names}
    for k in range(rounds):
        for name in names:
            order = (0, 1) if k % 2 else (1, 0)  # neither is always the one that finds the caches cold
            for side in order:
                found[name][side].append((now, then)[side].seconds(name, times[name]))
    now.stop()
    then.stop()
    return {n: compare(*pair) for n, pair in found.items()}, failed


def main() -> None:
    """Compare and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the commit to compare with")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the tree that is judged (default: this one)")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name contains one of these")
    parser.add_argument("--counts", choices=("yes", "no", "only"), default="yes", help="instructions by valgrind")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/regress.json")
    args = parser.parse_args()
    from regress_worker import CASES

    wanted = [name for name in CASES if any(part in name for part in args.only)]
    if not wanted:
        raise SystemExit(f"no case has any of {args.only} in its name; there are: {'; '.join(CASES)}")
    commit = args.base or base_of(args.tree)
    out: dict[str, Any] = {"base": commit[:12], "rounds": args.rounds, "seconds": {}, "instructions": {}, "failed": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = fetched(args.tree, commit, folder / "tree")
        now, then = Side(args.tree.resolve(), folder / "now"), Side(other, folder / "then")
        if args.counts != "only":
            ratios, out["failed"] = timed(now, then, wanted, args.rounds)
            out["seconds"] = {name: asdict(r) for name, r in ratios.items()}
        if args.counts != "no" and shutil.which("valgrind"):
            a, b = now.instructions(wanted), then.instructions(wanted)
            for name in a.keys() & b.keys():
                r = compare([a[name]], [b[name]])
                out["instructions"][name] = {"now": a[name], "then": b[name], "ratio": r.median, "verdict": r.verdict}
    print(f"this tree against {out['base']}: ratios above 1 are slower")
    flagged = False
    for name in wanted:
        parts = []
        if name in out["seconds"]:
            r = out["seconds"][name]
            parts.append(f"time {r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f}) {r['verdict']}")
        if name in out["instructions"]:
            c = out["instructions"][name]
            parts.append(f"instructions {c['ratio']:.4f} of {c['then']:,.0f} {c['verdict']}")
        if name in out["failed"]:
            parts.append(f"not compared: {out['failed'][name]}")
        flagged |= out["failed"].get(name, "").startswith("fails here")
        flagged |= any(out[k].get(name, {}).get("verdict") == "slower" for k in ("seconds", "instructions"))
        print(f"{name:<42} {'; '.join(parts)}")
    if args.counts != "no" and not shutil.which("valgrind"):
        print("no instructions were counted: valgrind is not installed")
    if args.save:
        from common import save

        save("regress", out)
    raise SystemExit(1 if flagged else 0)


if __name__ == "__main__":
    main()
