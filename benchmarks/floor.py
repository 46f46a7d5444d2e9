"""How far the default kernels are from what the core can do at best.

A kernel's arithmetic is counted from LLVM's optimised text of the kernel itself; the floor is the time of a
micro-kernel with the same operations in the same numbers, none waiting for another (`floor_peak`), in vectors and,
beside it, one patient at a time. Measured: two blocks of 8 patients again and again (all in the first cache), and many
patients in turn. Everything is timed round by round, by processor time, the least of each counts: other work disturbs
one way only.

    .venv/bin/python benchmarks/floor.py [--rounds 40] [--patients 131072] [--draw]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import doseloop as dl
import matplotlib
import numpy as np
from common import RESULTS, save, show
from doseloop import models
from doseloop.pkpd.calls import call_kernel
from doseloop.pkpd.interval import constants_of, interval_ir
from doseloop.pkpd.lanes import LANES, listing, propagator_ir, straight_ir
from doseloop.pkpd.march import march_of, pack, prepare
from doseloop.pkpd.objects import disclosed
from doseloop.pkpd.system import THRESHOLD, System
from floor_peak import FLOPS, KINDS, counted, micro, registers, width
from numba import njit
from problems import TIMES, population, regimen, two_compartment_oral
from steps import people

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parent.parent / "docs" / "img" / "floor.png"
REACH = {"Hovorka, RK4 step": (5.0, 8.0), "UVA/Padova S2008, RK4 step": (18.0, 37.0)}  # ns: issue 6


@njit(nogil=True)
def _repeat(kernel, at, strides, blocks, group, times):  # type: ignore[no-untyped-def]
    """Call a kernel on blocks in turn (``group`` of them at once), ``times`` times; scalars are one for all."""
    s, x, p, u, k, out = at
    dx, dp, du, dk, do = strides
    for _ in range(times):
        for b in range(0, blocks, group):
            call_kernel(kernel, s, x + b * dx, p + b * dp, u + b * du, k + b * dk, out + b * do)


@njit(nogil=True)
def _prepare(kernel, s, p, k, dp, dk, blocks, h):  # type: ignore[no-untyped-def]
    for b in range(blocks):
        prepare(kernel, s, p + b * dp, k + b * dk, h)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that begin on a line of the cache."""
    raw = np.zeros(math.prod(shape) + 8)
    start = -(raw.ctypes.data // 8) % 8
    return raw[start : start + math.prod(shape)].reshape(shape)


@dataclass
class Case:
    """A kernel: its text, its address for one block and for a pair (0: none), steps in a call, rounds of its loop."""

    name: str
    model: dl.Model
    interval: float
    ir: str
    kernel: int
    pair: int
    steps: int
    loop: int
    output: str  # "x", "y" (outputs) or "k" (propagator)


def squarings(S: System, p: np.ndarray, h: float) -> int:
    """How often the propagator's kernel squares for the patient who needs it most."""
    space: dict[str, Any] = {"exp": math.exp, "maximum": max, "minimum": min}
    graph = S.propagator_start()
    exec(listing(graph), space)
    norms = [space["propagator"]([0.0], [], row.tolist(), [], [])[-1] for row in p]
    return max(0, math.frexp(max(norms) * h / THRESHOLD)[1])


def cases() -> list[Case]:
    """The default kernels."""
    out = []
    for name, model, interval in (
        ("two compartments, exact step", two_compartment_oral(), 1.0),
        ("Hovorka, RK4 step", models.load("glucose_t1d_hovorka2004"), 1.0),
        ("UVA/Padova S2008, RK4 step", models.load("glucose_t1d_uvapadova2008"), 1.0),
        ("Eleveld, exact step", models.load("propofol_eleveld2018"), 1 / 12),
    ):
        how = march_of(model, interval)
        S, n = how.system, how.steps
        step = S.advance() if S.linear else constants_of(S.rk4())[1]
        out.append(Case(name, model, interval, interval_ir(step, n), how.kernel, how.pair, n, n, "x"))
        if "Eleveld" in name:
            ir = straight_ir(S.outputs())
            out.append(Case("Eleveld, levels and BIS", model, interval, ir, how.outputs, 0, 1, 1, "y"))
        if "two" in name:
            ir = propagator_ir(S.propagator_start(), S.propagator_square(), THRESHOLD)
            loop = squarings(S, people(model, 16)[0], interval)
            title = f"two compartments, its propagator ({loop} squarings)"
            out.append(Case(title, model, interval, ir, how.propagator, 0, 1, loop, "k"))
    return out


def memory(case: Case, blocks: int) -> tuple[tuple[np.ndarray, ...], tuple[int, ...], int]:
    """Arrays s, x, p, u, k, out of typical patients; bytes from block to block; bytes a call on a block touches."""
    how = march_of(case.model, case.interval)
    S, (p, x) = how.system, people(case.model, 16)
    rows = {"x": S.rows_x, "p": S.rows_p, "u": S.rows_u, "k": how.rows_k, "y": S.rows_y}
    a = {name: aligned((blocks, n, LANES)) for name, n in rows.items()} | {"s": aligned((2, LANES))}
    few = np.arange(blocks) % 2  # sixteen patients, so two blocks, again and again
    a["x"][:], a["p"][:] = pack(x)[few], pack(p)[few]
    held = [*(i.typical for i in case.model.inputs), *(0.01 for _ in case.model.routes)]
    a["u"][:] = np.array(held)[None, :, None]
    line = {name: 8 * LANES * n for name, n in rows.items()}
    s, k = a["s"].ctypes.data, a["k"].ctypes.data
    _prepare(how.propagator, s, a["p"].ctypes.data, k, line["p"], line["k"], blocks, how.h)
    a["s"][0], a["s"][1] = (how.h if case.output == "k" else 0.0), how.h
    touched = {
        "x": line["x"] * 2 + line["u"] + line["k"] + (0 if S.linear else line["p"]),
        "y": line["x"] + line["p"] + line["y"],
        "k": line["p"] + line["k"],
    }
    return (
        tuple(a[n] for n in ("s", "x", "p", "u", "k", case.output)),
        tuple(line[n] for n in ("x", "p", "u", "k", case.output)),
        touched[case.output],
    )


def runner(case: Case, kernel: int, blocks: int, group: int, times: int) -> tuple[Callable[[], None], float, int]:
    """What to time, patients and steps in it, and the bytes each of these touches."""
    arrays, strides, touched = memory(case, blocks)
    at = tuple(a.ctypes.data for a in arrays)

    def run(keep: Any = arrays) -> None:
        _repeat(kernel, at, strides, blocks, group, times)

    return run, times * blocks * LANES * case.steps, touched // LANES // case.steps


def peak(mix: Counter[str], lanes: int, chains: int, times: int) -> Callable[[], None]:
    """A micro-kernel, ready to be timed."""
    x, p, out, k = aligned((32, 8)), aligned((4, 8)), aligned((chains, 8)), np.full(8, times, dtype=np.int64)
    x[:], p[0], p[2] = 1.0, 1.0, 1.5
    at, entry = tuple(v.ctypes.data for v in (x, x, p, x, k, out)), micro(mix, lanes, chains)

    def run(keep: Any = (x, p, out, k)) -> None:
        _repeat(entry, at, (0, 0, 0, 0, 0), 1, 1, 1)

    return run


def least(work: dict[Any, Callable[[], None]], rounds: int) -> dict[Any, float]:
    """Least processor time of each, s, all in turn."""
    found = dict.fromkeys(work, math.inf)
    for _ in range(rounds):
        for name, run in work.items():
            start = time.process_time()
            run()
            found[name] = min(found[name], time.process_time() - start)
    return found


def assembly(text: str) -> dict[str, int]:
    """Instructions of a kernel: packed and scalar arithmetic on doubles, calls, what passes through the stack."""
    lines = [line.split(None, 1) for line in text.splitlines() if re.match(r"\t[a-z]", line)]
    words = [line[0] for line in lines]
    arithmetic = re.compile(r"v(f?n?m?(add|sub|mul|div|sqrt|min|max|fmadd|fmsub|fnmadd|fnmsub)\w*)(p|s)d$")
    stack = [line for line in lines if len(line) > 1 and re.search(r"\(%r[sb]p\b", line[1])]
    stored = [line for line in stack if line[0].startswith("vmov") and line[1].rstrip().endswith(")")]
    return {
        "instructions": len(words),
        "packed": sum(bool(m) and m[3] == "p" for m in map(arithmetic.match, words)),
        "scalar": sum(bool(m) and m[3] == "s" for m in map(arithmetic.match, words)),
        "calls": sum(w.startswith("call") for w in words),
        "stores to the stack": len(stored),
        "loads from the stack": len(stack) - len(stored),
    }


def measure(rounds: int, patients: int) -> dict[str, Any]:
    """Floors and times of every kernel."""
    W, todo, mixes, written = width(), cases(), {}, {}
    work: dict[Any, Callable[[], None]] = {}
    per: dict[Any, float] = {}
    moved: dict[str, int] = {}
    for case in todo:
        text, written[case.name] = disclosed(case.ir)
        mixes[case.name] = mix = counted(text, case.loop)
        size = sum(mix.values())
        for lanes in (W, 1):
            for chains in registers():
                times = max(10, 1_000_000 // size)
                work[case.name, "floor", lanes, chains] = peak(mix, lanes, chains, times)
                per[case.name, "floor", lanes, chains] = times * lanes * case.steps
        again = max(10, 500_000 // size)
        work[case.name, "cache"], per[case.name, "cache"], moved[case.name] = runner(case, case.kernel, 2, 1, again)
        if case.pair:
            work[case.name, "pair"], per[case.name, "pair"], _ = runner(case, case.pair, 2, 2, again)
    for kind in KINDS:
        work["rate", kind] = peak(Counter({kind: 120}), W, registers()[-1], 1000)
        per["rate", kind] = 120_000
    for run in work.values():
        run()
    ns = {name: 1e9 * s / per[name] for name, s in least(work, rounds).items()}
    out: dict[str, Any] = {"lanes of a register": W, "kernels": {}}
    out["ns of one vector operation"] = {kind: ns["rate", kind] for kind in KINDS if kind != "round"}
    for case in todo:
        many, count, _ = runner(case, case.kernel, patients // LANES, 1, 1)
        many()
        floor, scalar = (min(ns[case.name, "floor", lanes, c] for c in registers()) for lanes in (W, 1))
        flops = sum(FLOPS.get(kind, 0) * n for kind, n in mixes[case.name].items()) / case.steps
        out["kernels"][case.name] = {
            "operations of a patient and step": {k: n / case.steps for k, n in mixes[case.name].items()},
            "flop": flops,
            "bytes touched": moved[case.name],
            "floor, ns": floor,
            "floor without vectors, ns": scalar,
            "in the first cache, ns": ns[case.name, "cache"],
            "a pair of blocks, ns": ns.get((case.name, "pair")),
            "many patients in turn, ns": 1e9 * least({"many": many}, max(4, rounds // 8))["many"] / count,
            "over the floor": ns[case.name, "cache"] / floor,
            "assembly": assembly(written[case.name]),
        }
    out["GB/s of a copy"] = bandwidth(rounds // 4)
    out["event loop, ns an event"] = event_loop(rounds // 8)
    return out


def bandwidth(rounds: int) -> float:
    """Bytes read and written per ns when an array of 64 MB is copied."""
    a, b = np.ones(8_000_000), np.zeros(8_000_000)
    return 16 * len(a) / 1e9 / least({"copy": lambda: np.copyto(b, a)}, max(4, rounds))["copy"]


def event_loop(rounds: int, count: int = 2000) -> float:
    """A patient's event (a dose or an hourly level) in `simulate`, two compartments, all bookkeeping included."""
    model = two_compartment_oral()
    P, given = population(model, count), regimen()
    dl.pkpd.engine.set_threads(1)
    run = lambda: dl.simulate(model, P, given, TIMES)  # noqa: E731
    run()
    return 1e9 * least({"run": run}, max(4, rounds))["run"] / count / (len(TIMES) + 10)


def picture(r: dict[str, Any]) -> None:
    """Times beside their floors, and the roofline."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", width_ratios=(1.15, 1))
    kernels = r["kernels"]
    marks = {
        "floor, ns": ("|", "black", "floor, vectors"),
        "in the first cache, ns": ("o", "tab:blue", "measured, in the first cache"),
        "many patients in turn, ns": ("s", "tab:orange", "measured, many patients in turn"),
        "floor without vectors, ns": ("x", "grey", "floor without vectors"),
    }
    for row, (name, k) in enumerate(kernels.items()):
        left.barh(row, k["floor, ns"], left=k["floor, ns"], height=0.5, color="tab:green", alpha=0.25)
        for key, (mark, colour, label) in marks.items():
            left.plot(k[key], row, mark, color=colour, ms=16 if mark == "|" else 7, label=None if row else label)
        if name in REACH:
            left.plot(REACH[name], (row + 0.32,) * 2, color="tab:red", lw=3, label="known reach" if row == 2 else None)
    left.set_yticks(range(len(kernels)), [n.replace(" (", "\n(") for n in kernels])
    left.invert_yaxis()
    left.set(xscale="log", xlabel="ns a patient and step (green: within twice the floor)")
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside lower left", ncols=5)
    W, fma = r["lanes of a register"], r["ns of one vector operation"]["fma"]
    at = np.geomspace(0.05, 20, 50)
    for lanes, name in ((W, f"{W} lanes, fused multiply-add"), (1, "one lane")):
        right.loglog(at, np.minimum(2 * lanes / fma, r["GB/s of a copy"] * at), "k-" if lanes > 1 else "k--", lw=1)
        right.annotate(name, (20, 2 * lanes / fma * 1.07), ha="right", fontsize=8)
    right.annotate(f"memory, {r['GB/s of a copy']:.0f} GB/s", (0.3, 0.18 * r["GB/s of a copy"]), fontsize=8)
    for n, (name, k) in enumerate(kernels.items()):
        x, colour = k["flop"] / k["bytes touched"], f"C{n}"
        for key, mark in (("in the first cache, ns", "o"), ("many patients in turn, ns", "s")):
            right.plot(x, k["flop"] / k[key], mark, color=colour, label=name if mark == "o" else None)
        right.plot(x, k["flop"] / k["floor, ns"], "_", color=colour, ms=18, mew=2)
    right.set(
        xlabel="flop a byte that a call touches",
        ylabel="GFLOP/s",
        title="○ first cache   □ many patients   — floor of that mix",
    )
    right.set_ylim(0.8)
    right.legend(fontsize=7, loc="lower right")
    for axis in (left, right):
        axis.grid(True, which="major", alpha=0.3)
    figure.savefig(PICTURE, dpi=130)


def main() -> None:
    """Run, save, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--patients", type=int, default=131072)
    parser.add_argument("--draw", action="store_true", help="only draw what was saved")
    args = parser.parse_args()
    if args.draw:
        results = json.loads((RESULTS / "floor.json").read_text(encoding="utf-8"))
    else:
        results = measure(args.rounds, args.patients)
        save("floor", {"rounds": args.rounds, "patients": args.patients, **results})
    picture(results)
    rows = []
    for name, k in results["kernels"].items():
        text = f"floor {k['floor, ns']:.2f} ns, measured {k['in the first cache, ns']:.2f} ({k['over the floor']:.2f}×)"
        text += (
            f", many {k['many patients in turn, ns']:.2f}, floor without vectors {k['floor without vectors, ns']:.1f}"
        )
        rows.append((name, f"{text}; {k['assembly']}"))
    rows.append(("event loop", f"{results['event loop, ns an event']:.1f} ns an event"))
    show(rows)


if __name__ == "__main__":
    main()
