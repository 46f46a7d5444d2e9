"""A comparison with peers in one run: sides in their own processes, work in turn, ratios only of work that is equal.

    side A  ─┐  each a process of its own environment, one thread; prepared and warmed before anything counts
    side B  ─┼─▶ interleaved: A B C  A B C  …   processor time of each piece of work, per patient
    side C  ─┘            │
                          ▼
    outputs compared with the reference ──▶ line: median and quartiles, difference, ratio to doseloop or why none

Processor time (of all threads) is what is compared, since the machine may be shared; the wall clock stands beside it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import python_with

__all__ = ["ONE_THREAD", "Job", "Side", "SideError", "Times", "difference", "interleaved", "ratio", "sides"]

HERE = Path(__file__).parent
ONE_THREAD = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "DOSELOOP_THREADS"), "1"
    ),
    "NPROC": "1",  # XLA's thread pool
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}
SHORT = 0.05  # s of processor: shorter work is repeated until it takes so long


class SideError(RuntimeError):
    """A side cannot do what it was asked; the message is its own."""


class Side:
    """One side's process.

    Args:
        name: what it is called in the results.
        script: in benchmarks/peers; it calls `worker.serve`.
        folder: what the sides share, its only argument.
        python: its interpreter; default: this one.
    """

    def __init__(self, name: str, script: str, folder: Path, python: Path | None = None) -> None:
        self.name, own = name, python is None
        env = os.environ | ONE_THREAD
        if not own:  # a peer's environment sees nothing of ours
            env = {k: v for k, v in env.items() if not k.startswith("PYTHON")}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            [str(python or sys.executable), str(HERE / "peers" / script), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=env,
        )  # fmt: skip
        try:
            self.versions: dict[str, str] = self._answer()["ready"]
        except SideError:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SideError(f"{self.name} ended: …{self._errors.read()[-600:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error'][:600]}")
        return answer

    def run(self, what: Mapping[str, Any]) -> dict[str, Any]:
        """One job: seconds of wall and processor (``wall``, ``cpu``), largest memory so far in MB (``rss``).

        Raises:
            SideError: it could not be done.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: the answer says why
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


@contextlib.contextmanager
def sides(
    wanted: Sequence[tuple[str, str, str | None]], folder: Path, say: Callable[[str], None] = print
) -> Iterator[dict[str, Side]]:
    """The sides' processes, for as long as the block lasts.

    ``wanted``: name, script, and the peer whose environment it needs (benchmarks/peers/PEER.txt; None: our own). A peer
    that cannot be had is left out, and said so.
    """
    found: dict[str, Side] = {}
    try:
        for name, script, peer in wanted:
            say(f"  {name}: preparing …")
            python = python_with(peer) if peer else None
            if peer and python is None:
                continue
            try:
                found[name] = Side(name, script, folder, python)
            except SideError as error:
                if peer is None:
                    raise
                say(f"  {error}: left out")
        yield found
    finally:
        for side in found.values():
            side.close()


@dataclass(frozen=True)
class Job:
    """A piece of work: the line's name, who does it, what it is told, how many patients it serves."""

    name: str
    side: Side
    what: Mapping[str, Any]
    units: int = 1


@dataclass
class Times:
    """Milliseconds of one patient, round by round: of the processor and on the wall; MB of its process."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rss: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Medians and quartiles."""
        return {"cpu ms": quartiles(self.cpu), "wall ms": quartiles(self.wall), "process MB": round(self.rss)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": middle, "q1": low, "q3": high}


def interleaved(
    jobs: Sequence[Job],
    rounds: int,
    folder: Path,
    *,
    slow: float = math.inf,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Times], dict[str, np.ndarray], dict[str, str]]:
    """Every job once to warm up (its output is kept), then all in turn, A B C A B C …, ``rounds`` times.

    A job whose warm run takes more than ``slow`` seconds of the processor is measured by that run alone.

    Returns:
        times and outputs by the jobs' names; and for those that failed, in words why.
    """
    times: dict[str, Times] = {}
    outputs: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    repeat: dict[str, int] = {}
    kept = folder / "output.npy"
    for k, job in enumerate(jobs):
        progress(f"[{k + 1}/{len(jobs)}] {job.name}: warming up")
        kept.unlink(missing_ok=True)
        try:
            job.side.run(job.what)  # compiles
            first = job.side.run({**job.what, "save": str(kept)})
        except SideError as error:
            failed[job.name] = str(error)
            continue
        outputs[job.name] = np.load(kept)
        times[job.name] = Times()
        repeat[job.name] = max(1, min(1000, math.ceil(SHORT / max(first["cpu"], 1e-6))))
        if first["cpu"] > slow:
            repeat[job.name] = 0
            _note(times[job.name], first, job.units)
    for r in range(rounds):
        progress(f"round {r + 1} of {rounds}")
        for job in jobs:
            if repeat.get(job.name):
                answer = job.side.run({**job.what, "repeat": repeat[job.name]})
                _note(times[job.name], answer, job.units * repeat[job.name])
    return times, outputs, failed


def _note(times: Times, answer: Mapping[str, float], units: int) -> None:
    times.cpu.append(1e3 * answer["cpu"] / units)
    times.wall.append(1e3 * answer["wall"] / units)
    times.rss = answer["rss"]


def difference(got: np.ndarray, truth: np.ndarray) -> float:
    """Largest difference relative to the output's peak, over patients, times and outputs; inf where not a number.

    Both are (patients, times, outputs); only the patients that both have are compared.
    """
    n = min(len(got), len(truth))
    if n == 0 or got.shape[1:] != truth.shape[1:]:
        return math.inf
    peak = np.abs(truth[:n]).max(axis=1, keepdims=True)
    off = np.abs(got[:n] - truth[:n]) / np.where(peak > 0, peak, 1.0)
    return float(off.max()) if np.isfinite(off).all() else math.inf


def ratio(other: Times, mine: Times, differs: float, allowed: float) -> dict[str, Any]:
    """How many times our processor time the other takes, round by round; refused where the work is not equal.

    Args:
        differs: the largest difference of the two outputs (or of the worse of them from the truth).
        allowed: up to where the work counts as the same.

    Returns:
        ``median``, ``q1``, ``q3``; or ``refused``, in words.
    """
    if not differs <= allowed:
        return {"refused": f"outputs differ by {differs:.1e}, {allowed:.0e} allowed"}
    if len(other.cpu) == len(mine.cpu):
        return quartiles([a / b for a, b in zip(other.cpu, mine.cpu)])
    middle = statistics.median(mine.cpu)
    return quartiles([a / middle for a in other.cpu])
