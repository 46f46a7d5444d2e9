"""Compiled kernels and drivers on disk: found again by a second process, never stale, never needed.

Each subprocess has its own cold folder of kernels; the drivers (12 s of compilation) are those of this process.
"""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from doseloop.pkpd import jit, objects
from doseloop.pkpd.lanes import straight_ir
from doseloop.pkpd.model import Route
from doseloop.pkpd.objects import cache_folder
from doseloop.pkpd.regimen import Bolus
from helpers_pk import make_model, run, values, word_graph

MODEL = """
from doseloop.pkpd.model import Model, Output, Parameter, Route, State
from doseloop.pkpd.ops import exp

def individual(theta, cov, eta):
    return {"k": theta.k}

def rhs(t, x, p, u):
    return {"central": -2.0 * p.k * x.central}

def outputs(t, x, p):
    return {"c": x.central}

MODEL = Model(
    id="cached", drug="test", title="", citation="", time_unit="h", states=[State("central", "mg")],
    parameters=[Parameter("k", 0.1, "1/h", "test")], individual_units={"k": "1/h"}, individual=individual, rhs=rhs,
    outputs=[Output("c", "mg")], outputs_of=outputs, routes=[Route("iv", "central")],
)
"""

PROGRAM = """
import importlib.util, json, sys, time
import numpy as np
from doseloop.pkpd import drive, objects
from doseloop.pkpd.engine import Method
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Bolus, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import system
kernels = {}
objects.listen(lambda name, cached, seconds: kernels.__setitem__(name, cached))
spec = importlib.util.spec_from_file_location("cached_model", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
imported = time.process_time()
s = Schedule(module.MODEL, 0.0)
s.observe([5.0])
s.regimen(Regimen(Bolus(100.0)), 5.0)
p = individuals(module.MODEL)
Y, status = Prepared(system(module.MODEL), [s], Method()).run(p)
print(json.dumps({
    "value": Y[0, 0], "kernels": kernels, "seconds": time.process_time() - imported,
    "driver hits": sum(drive.drive.stats.cache_hits.values()),
    "driver misses": sum(drive.drive.stats.cache_misses.values()),
}))
"""


@pytest.fixture(scope="module")
def drivers():
    """The folder of this process's drivers, all compiled."""
    model = make_model(
        "warm", {"k": 1.0}, ["a"], lambda t, x, p, u: {"a": -p.k * x.a}, {"y": lambda x, p: x.a}, [Route("iv", "a")]
    )
    run(model, values(model), [Bolus(1.0)], [1.0])
    return cache_folder() / "drivers"


@pytest.fixture
def home(tmp_path, drivers):
    """A model file, a program that runs it, and a folder whose kernels are cold."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "drivers").symlink_to(drivers)
    return tmp_path


def start(home, **environment):
    # Python itself takes a module's bytecode by time stamp and size: keep it from writing any
    env = os.environ | {"DOSELOOP_CACHE": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [sys.executable, str(home / "program.py"), str(home / "model.py")]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def simulated(home, **environment):
    return finish(start(home, **environment))


def kernel_files(home):
    return sorted((home / "cache" / "kernels").iterdir())


def test_a_second_process_compiles_nothing(home):
    first, second = simulated(home), simulated(home)
    assert first["value"] == pytest.approx(100 * np.exp(-1.0), rel=1e-14)
    assert set(first["kernels"]) == {f"cached {k}" for k in ("individual", "outputs", "propagator", "advance")}
    assert not any(first["kernels"].values())
    assert all(second["kernels"].values())
    assert second["value"] == first["value"]
    assert (second["driver hits"], second["driver misses"]) == (1, 0)
    assert second["seconds"] < 1.0  # of the processor: other tests may run beside this one
    assert all(f.suffix == ".o" for f in kernel_files(home))  # nothing half written is left


def test_an_edited_equation_is_never_served_from_the_old_kernel(home):
    """Same length, same time stamp: only the text tells."""
    assert simulated(home)["value"] == pytest.approx(100 * np.exp(-1.0), rel=1e-14)
    path = home / "model.py"
    before = path.stat()
    path.write_text(MODEL.replace("-2.0 * p.k", "-3.0 * p.k"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    edited = simulated(home)
    assert edited["value"] == pytest.approx(100 * np.exp(-1.5), rel=1e-14)
    assert edited["kernels"]["cached propagator"] is False
    assert edited["kernels"]["cached outputs"] is True  # its text is the same
    path.write_text(MODEL)
    back = simulated(home)
    assert back["value"] == pytest.approx(100 * np.exp(-1.0), rel=1e-14)
    assert all(back["kernels"].values())


@pytest.mark.slow
def test_damaged_objects_are_compiled_again(home):
    """One bit flipped, cut short, empty, and not an object at all."""
    first = simulated(home)
    files = kernel_files(home)
    assert len(files) == 4
    whole = [f.read_bytes() for f in files]
    flipped = bytearray(whole[0])
    flipped[len(flipped) // 2] ^= 1
    for f, data in zip(files, (bytes(flipped), whole[1][:-100], b"", b"\x7fELF" + bytes(500))):
        f.write_bytes(data)
    again = simulated(home)
    assert again["value"] == first["value"]
    assert not any(again["kernels"].values())
    assert [f.read_bytes() for f in files] == whole  # and mended
    assert all(simulated(home)["kernels"].values())


@pytest.mark.slow
def test_processes_at_once(home):
    results = [finish(p) for p in [start(home) for _ in range(3)]]
    assert len({r["value"] for r in results}) == 1
    assert len(kernel_files(home)) == 4
    assert all(simulated(home)["kernels"].values())


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(home, tmp_path):
    """Kernels are compiled for this process alone (drivers too, tested below with a small one)."""
    (tmp_path / "file").write_text("in the way")
    program = textwrap.dedent("""
        import json, sys
        sys.path.insert(0, sys.argv[1])
        from helpers_pk import word
        from doseloop.pkpd import jit
        def twice(x):
            return 2 * x
        print(json.dumps({"log": word("log", 1)([1.0])[0], "twice": jit.jit(twice)(21)}))
    """)
    (home / "program.py").write_text(program)
    (home / "model.py").unlink()
    env = os.environ | {"DOSELOOP_CACHE": str(tmp_path / "file" / "cache")}
    command = [sys.executable, str(home / "program.py"), os.path.dirname(__file__)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"log": 0.0, "twice": 42}


DRIVER = """
from doseloop.pkpd.jit import jit
from .helper import inner

@jit
def outer(x):
    return inner(x) + 1.0
"""
HELPER = """
from doseloop.pkpd.jit import jit

@jit
def inner(x):
    return 2.0 * x
"""


@pytest.mark.slow
def test_a_driver_whose_helper_was_edited_is_compiled_again(tmp_path):
    """Numba's own cache looks at one file and its time stamp: it would serve 2x + 1 for ever."""
    package = tmp_path / "driverpackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "driver.py").write_text(DRIVER)
    helper = package / "helper.py"
    helper.write_text(HELPER)
    stamp = helper.stat()
    program = "from driverpackage.driver import outer; print(outer(5.0), sum(outer.stats.cache_hits.values()))"
    env = os.environ | {
        "DOSELOOP_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def answer():
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.split()

    assert answer() == ["11.0", "0"]
    assert answer() == ["11.0", "1"]
    helper.write_text(HELPER.replace("2.0", "3.0"))
    os.utime(helper, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert answer() == ["16.0", "0"]


def test_the_stamp_of_a_file_covers_what_it_imports(tmp_path):
    package = tmp_path / "stamped"
    (package / "deep").mkdir(parents=True)
    (package / "a.py").write_text("from .b import one\n")
    (package / "b.py").write_text("from .deep.c import one\n")
    (package / "deep" / "c.py").write_text("from ..d import one\n")
    (package / "d.py").write_text("one = 1\n")
    (package / "other.py").write_text("one = 1\n")

    def stamp():
        jit._relatives.cache_clear()
        jit.content_stamp.cache_clear()
        return jit.content_stamp(str(package / "a.py"))

    first = stamp()
    assert stamp() == first
    (package / "other.py").write_text("one = 2\n")
    assert stamp() == first
    (package / "d.py").write_text("one = 2\n")
    assert stamp() != first


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DOSELOOP_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("DOSELOOP_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_folder() == tmp_path / "xdg" / "doseloop"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "doseloop"


def test_another_processor_has_objects_of_its_own(monkeypatch, tmp_path):
    """A cache folder shared over a network serves each machine what was compiled for it."""
    monkeypatch.setenv("DOSELOOP_CACHE", str(tmp_path))
    ir = straight_ir(word_graph("neg", 1)) + f"; {tmp_path}\n"
    objects.address("neg", ir, "test")
    assert len(list((tmp_path / "kernels").iterdir())) == 1
    monkeypatch.setattr(objects, "processor", lambda: "another")
    objects.address("neg", ir, "test")
    assert len(list((tmp_path / "kernels").iterdir())) == 2


def test_listeners_hear_of_each_kernel_once(monkeypatch, tmp_path):
    monkeypatch.setenv("DOSELOOP_CACHE", str(tmp_path))
    heard = []
    stop = objects.listen(lambda name, cached, seconds: heard.append((name, cached, seconds > 0)))
    ir = straight_ir(word_graph("twice", 1)) + f"; {tmp_path}\n"
    first = objects.address("twice", ir, "test")
    assert objects.address("twice", ir, "test") == first
    assert heard == [("twice", False, True)]
    stop()
    objects.address("twice", ir + "; more\n", "test")
    assert len(heard) == 1
