"""The guard's own cache of compiled code: warm for the same source, never stale for another."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import doseloop.safety
import pytest
from doseloop.safety import compiled

CODE = """
import sys
sys.path.insert(0, {room!r})
import mod
print(mod.f(2.0), sum(mod.f.stats.cache_hits.values()), sum(mod.f.stats.cache_misses.values()))
"""
MOD = """
from doseloop.safety.compiled import compiled
from other import FACTOR

@compiled
def f(x):
    return FACTOR * x if x < 1e9 else x / 0.0
"""


def run(room, cache):
    """What a fresh process gets: the result, hits and misses of the cache."""
    env = os.environ | {"NUMBA_DISABLE_JIT": "0", "DOSELOOP_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    # In the mutation run the package stands in a folder of its own.
    env["PYTHONPATH"] = str(Path(doseloop.safety.__file__).parents[2])
    code = CODE.format(room=str(room))
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    value, hits, misses = out.stdout.split()
    return float(value), int(hits), int(misses)


@pytest.mark.slow
def test_a_second_process_starts_warm_and_an_edit_anywhere_in_the_room_compiles_anew():
    with tempfile.TemporaryDirectory() as folder:
        room, cache = Path(folder) / "room", Path(folder) / "cache"
        room.mkdir()
        (room / "mod.py").write_text(MOD, encoding="utf-8")
        other = room / "other.py"
        other.write_text("FACTOR = 3.0", encoding="utf-8")
        assert run(room, cache) == (6.0, 0, 1)
        assert run(room, cache) == (6.0, 1, 0)
        # Same size and time stamp: Numba's own cache would serve the old factor.
        stamp = other.stat()
        other.write_text("FACTOR = 5.0", encoding="utf-8")
        os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert run(room, cache) == (10.0, 0, 1)
        other.write_text("FACTOR = 3.0", encoding="utf-8")
        assert run(room, cache) == (6.0, 1, 0)
        # The room's two sources, and the guard's own.
        assert len(list((cache / "safety").iterdir())) == 3
        # A folder that cannot be written to: compiled in each process, and right.
        assert run(room, other) == (6.0, 0, 1)
        assert run(room, other) == (6.0, 0, 1)


def stamp_of(*files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files:
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return compiled.content_stamp(Path(folder))


def test_the_stamp_is_the_content_of_every_python_file():
    one = stamp_of(("a.py", "x"), ("b.py", "y"))
    assert len(one) == 64
    assert stamp_of(("b.py", "y"), ("a.py", "x"), ("notes.md", "z")) == one
    others = [
        stamp_of(("a.py", "x")),
        stamp_of(("a.py", "y"), ("b.py", "x")),
        stamp_of(("a.py", "x"), ("c.py", "y")),
        stamp_of(("a.py", "xb.py"), ("b.py", "")),
        stamp_of(("a.py", "x"), ("b.py", "y"), ("c.py", "")),
    ]
    assert len({one, *others}) == 6


def test_where_compiled_code_is_kept():
    with patch.dict(os.environ, {"DOSELOOP_CACHE": "/own", "XDG_CACHE_HOME": "/user"}):
        assert compiled.cache_folder() == Path("/own")
    with patch.dict(os.environ, {"DOSELOOP_CACHE": "", "XDG_CACHE_HOME": "/user"}):
        assert compiled.cache_folder() == Path("/user/doseloop")
    with patch.dict(os.environ, {"DOSELOOP_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/somewhere"}):
        assert compiled.cache_folder() == Path("/somewhere/.cache/doseloop")


def some(x):
    return x


def another(x):
    return x


def test_each_function_has_files_of_its_own():
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"DOSELOOP_CACHE": folder}):
        one, two = (compiled._Locator.from_function(f, __file__) for f in (some, another))
        stamp = compiled.content_stamp(Path(__file__).resolve().parent)
        assert one.get_source_stamp() == two.get_source_stamp() == stamp
        assert one.get_cache_path() == two.get_cache_path() == str(Path(folder) / "safety" / stamp[:16])
        assert Path(one.get_cache_path()).is_dir()
        assert one.get_disambiguator() != two.get_disambiguator()
        assert len(one.get_disambiguator()) == 10


def test_numba_switched_off_or_without_a_folder():
    made = SimpleNamespace()
    with tempfile.TemporaryDirectory() as folder:
        with patch("numba.njit") as njit, patch.dict(os.environ, {"DOSELOOP_CACHE": folder}):
            njit.return_value = lambda function: function
            assert compiled.compiled(some) is some
            njit.return_value = lambda function: made
            assert compiled.compiled(some) is made
            assert made._cache.cache_path.startswith(folder)
            assert njit.call_args.kwargs == {"nogil": True, "error_model": "numpy"}
        bare = SimpleNamespace()
        nowhere = Path(folder) / "file"
        nowhere.touch()
        with patch("numba.njit") as njit, patch.dict(os.environ, {"DOSELOOP_CACHE": str(nowhere)}):
            njit.return_value = lambda function: bare
            assert compiled.compiled(some) is bare
            assert vars(bare) == {}
