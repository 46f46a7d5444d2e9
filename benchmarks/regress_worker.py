"""One side of a comparison (`regress.py` starts it): the hot paths of whichever doseloop is imported, run on request.

Reads a line ``["case", times]`` and answers with the processor time. With ``--count``, run under callgrind, it counts
instructions instead: each case N times and then 2N times, each dumped by itself, so that the difference holds N runs
and nothing of what surrounds them.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[], Any]
CPU = "haswell"  # counts are of code for this processor, wherever they are taken: AVX2, which valgrind can run


def fix_processor() -> None:
    """Let LLVM write for one processor, not for the one at hand (or for the one that valgrind plays)."""
    import llvmlite.binding as llvm

    llvm.get_host_cpu_name = lambda: CPU
    llvm.get_host_cpu_features = llvm.FeatureMap


def _course(id: str, interval: float, rate: float, minutes: int = 60) -> Run:
    import numpy as np
    from doseloop import models
    from doseloop.pkpd.individuals import individuals
    from doseloop.pkpd.march import march_of
    from doseloop.pkpd.population import starting_states
    from doseloop.pkpd.system import system
    from doseloop.virtual.course import course

    model = models.load(id)
    how = march_of(model, interval)
    eta = 0.1 * np.random.default_rng(1).standard_normal((64, len(model.effects)))
    p = individuals(model, None, eta)
    x = starting_states(system(model), p)
    u = np.tile([*(i.typical for i in model.inputs), *(rate for _ in model.routes)], (64, minutes, 1))
    return lambda: course(how, p, x, u)


def _events() -> Run:
    import doseloop as dl
    from doseloop.pkpd.engine import set_threads
    from problems import TIMES, population, regimen, two_compartment_oral

    set_threads(1)
    model, given = two_compartment_oral(), regimen()
    P = population(model, 64)
    return lambda: dl.simulate(model, P, given, TIMES)


def _guard() -> Run:
    import numpy as np
    from doseloop.therapies import load_loop
    from doseloop.therapies.gate import Gate
    from doseloop.virtual.glucose_cohort import glucose_cohort
    from doseloop.virtual.glucose_world import GlucoseWorld

    world = GlucoseWorld(glucose_cohort("glucose_t1d_uvapadova2008", "train", 64), threads=1)
    seen = world.reset(1)
    gate = Gate(load_loop("glucose"), world.interval)
    gate.reset({k: v[world.who] for k, v in world.people.known.items()}, world.n)
    asked = np.tile([1.0, 2.0], (64, 1))
    for _ in range(4):
        seen = world.step(gate.judge(seen, asked)[0])
    gate.judge(seen, asked)
    return lambda: gate.preview(asked)


def _environment(id: str, steady: float) -> Run:
    import doseloop.envs  # noqa: F401
    import gymnasium
    import numpy as np

    env = gymnasium.make_vec(id, num_envs=64, threads=1)
    env.reset(seed=1)
    action = np.full(env.action_space.shape, steady, dtype=np.float32)
    return lambda: env.step(action)


def _twin() -> Run:
    import doseloop as dl

    therapy = dl.therapies.load("phenobarbital")
    infant = dl.example(therapy)[0]
    return lambda: dl.sync(therapy, infant)


def _follower() -> Run:
    import numpy as np
    from doseloop.models import load
    from doseloop.twin.follower import Follower
    from doseloop.twin.statements import follow_glucose

    follow = follow_glucose(load("glucose_t1d_hovorka2004"))
    follower, u = Follower(follow, None, count=1), np.zeros(len(follow.signals))
    u[follow.signals.index("sensitivity")], u[-1] = 1.0, 0.015
    return lambda: follower.step(u, 120.0)


def _mpc() -> Run:
    from doseloop.controller.realtime import RealTime
    from mpc_cases import HOVORKA, glucose_loop

    replay = glucose_loop(HOVORKA, 3)
    solver = RealTime(replay.problem)
    plan = solver.solve(replay.snapshots[-2])
    return lambda: solver.solve(replay.snapshots[-1], plan)


CASES: dict[str, Callable[[], Run]] = {
    "Hovorka, 64 patients, 60 min": lambda: _course("glucose_t1d_hovorka2004", 1.0, 0.015),
    "S2008, 64 patients, 60 min": lambda: _course("glucose_t1d_uvapadova2008", 1.0, 0.015),
    "Eleveld + BIS, 64 patients, 5 min": lambda: _course("propofol_eleveld2018", 1 / 12, 8.0),
    "two compartments, 64 patients, 251 events": _events,
    "guard's judgement, glucose, 64 patients": _guard,
    "environment step, glucose": lambda: _environment("doseloop/Glucose-v0", -0.5),
    "environment step, propofol": lambda: _environment("doseloop/Propofol-v0", -0.9),
    "environment step, vancomycin": lambda: _environment("doseloop/Vancomycin-v0", -0.5),
    "environment step, phenobarbital": lambda: _environment("doseloop/Phenobarbital-v0", -0.8),
    "twin from a record, phenobarbital": _twin,
    "twin in the loop, one reading, glucose": _follower,
    "MPC step, glucose": _mpc,
}


def prepared(wanted: list[str]) -> tuple[dict[str, Run], dict[str, str]]:
    """Cases ready to run (run three times each), and why others are not (an older commit may lack what they call)."""
    ready, failed = {}, {}
    for name in wanted or CASES:
        try:
            run = CASES[name]()
            for _ in range(3):
                run()
            ready[name] = run
        except Exception as error:  # told to whoever asked, by name
            failed[name] = f"{type(error).__name__}: {error}"
    return ready, failed


def serve(wanted: list[str]) -> None:
    """Answer requests until the input ends."""
    ready, failed = prepared(wanted)
    print(json.dumps({"ready": list(ready), "failed": failed}), flush=True)
    for line in sys.stdin:
        name, times = json.loads(line)
        run = ready[name]
        start = time.process_time()
        for _ in range(times):
            run()
        print(json.dumps(time.process_time() - start), flush=True)


def _requests() -> Callable[..., int]:
    """valgrind's client request (its manual, 3.1): a sequence that does nothing on a processor of its own."""
    code = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def request(number: int, argument: int = 0, keep: Any = page) -> int:
        return int(call(ctypes.byref((ctypes.c_uint64 * 6)(0x43540000 + number, argument))))

    return request


def count(wanted: list[str], times: int = 3) -> None:
    """Run every case ``times`` and twice as often, each followed by a dump that bears its name."""
    ready, failed = prepared(wanted)
    request = _requests()
    dump, start, stop = 3, 4, 5
    for name, run in ready.items():
        request(start)
        for many in (times, 2 * times):
            for _ in range(many):
                run()
            label = ctypes.create_string_buffer(f"{name}|{many}".encode())
            request(dump, ctypes.addressof(label))
        request(stop)
    print(json.dumps({"ready": list(ready), "failed": failed}), flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--count"]:
        fix_processor()
        count(arguments[1:])
    else:
        serve(arguments)
