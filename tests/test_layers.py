"""The rooms and what each may import (docs/architecture.md), read from the source; and what an import costs."""

import json
import subprocess
import sys

import pytest
from helpers_repository import FACE, INNER, LIBRARIES, ROOMS, ROOT, breaches, files, project, strays

LIMIT = 400
# A file over the limit needs a reason, and the reason stands here.
LONG = {
    "tests/test_glucose_cohort.py": "cohorts, tables and priors: every rule of a cohort, every fault of a table",
    "tests/test_loop_limits.py": "tables: every number of three limits tables, retyped, and what each lets through",
    "tests/test_nonmem_fuzz.py": "malformed tables by the hundred, drawn from one grammar",
    "tests/test_nonmem_rules.py": "the rules of docs/records.md, one after another",
    "tests/test_record_nonmem.py": "a table of files and what each must end in",
    "tests/test_safety_edges.py": "a table: each input of the guard at, under and over every edge",
    "tests/test_safety_limits.py": "a table: each way a table of limits can be incomplete",
}


def test_every_import_is_one_its_room_may_make():
    assert breaches(ROOT) == []


def test_rooms_are_one_folder_deep():
    assert strays(ROOT) == []


def test_the_rooms_are_the_packages():
    inside = [*ROOMS, *(n.replace("/", ".") for n in INNER)]
    assert set(project()["tool"]["setuptools"]["packages"]) == {"doseloop", *(f"doseloop.{room}" for room in inside)}
    assert [room for room in [*ROOMS, *INNER] if not (ROOT / room / "__init__.py").is_file()] == []


def test_no_module_stands_outside_the_rooms():
    other = {"benchmarks", "docs", "examples", "tests"}
    python = [name for name in files() if name.endswith(".py")]
    assert [n for n in python if n not in FACE and n.split("/")[0] not in {*ROOMS, *other}] == []


def test_a_long_file_has_a_reason():
    count = {n: len((ROOT / n).read_text(encoding="utf-8").splitlines()) for n in files() if n.endswith(".py")}
    assert {n: c for n, c in count.items() if c > LIMIT and n not in LONG} == {}
    assert [n for n in LONG if count.get(n, 0) <= LIMIT] == [], "no longer long: take it off the list"


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("safety/a.py", "from ..pkpd.units import convert", "safety may import nothing"),
        ("safety/a.py", "def f():\n    from .. import pkpd", "safety may import nothing"),
        ("models/a.py", "from .. import twin", "models may import"),
        ("models/a.py", "from ..cli import main", "models may import"),
        ("envs/a.py", "from ..controller.ladder import Ladder", "envs may import"),
        ("policies/a.py", "from ..envs import DosingVectorEnv", "policies may import"),
        ("pkpd/a.py", "from ...elsewhere import x", "outside the package"),
        ("pkpd/a.py", "import doseloop.twin", "imports are relative"),
        ("pkpd/a.py", "import twin", "imports are relative"),
        ("pkpd/a.py", "import importlib\nimportlib.import_module('doseloop.twin')", "imports are relative"),
        *((f"safety/{lib}.py", f"import {lib}.x as y", f"imports {lib}: only") for lib in LIBRARIES),
        ("pkpd/drive.py", "if True:\n    from casadi import SX", "imports casadi: only"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, file, text, complaint):
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    (found,) = breaches(tmp_path)
    assert found.startswith(f"{file}:")
    assert complaint in found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cli.py", "from .policies import anything"),
        ("controller/a.py", "from ..safety import guard\nfrom .outcome import Outcome\nfrom .. import __version__"),
        ("pkpd/trace.py", "import casadi as ca"),
        ("envs/a.py", "import gymnasium"),
    ],
)
def test_an_import_that_is_allowed_is_not(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert breaches(tmp_path) == []


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["doseloop", "doseloop.pkpd.regimen"])
def test_heavy_libraries_load_where_they_are_used(module):
    heavy = {"casadi", "gymnasium", "matplotlib", "pandas", "pint", "torch"}
    assert loaded_by(f"import {module}") & heavy == set()
