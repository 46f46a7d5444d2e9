"""The wheel holds the rooms and nothing else, and gives a dose where nothing else of ours is."""

import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers_repository import DATA, ROOMS, ROOT, breaches, files, modules, project, strays

pytestmark = pytest.mark.slow

INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}


def run(*command, cwd: Path, **variables: str) -> str:
    """Output of a command that sees nothing of this checkout; a failure shows what it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "PYTEST"))}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env | variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what is or would be committed, so that the checkout gains no files."""
    source = tmp_path_factory.mktemp("source")
    for name in files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=out)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of a new environment: the wheel, and beneath it the libraries of this one, but not our checkout."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
        cwd=home,
    )
    # a folder named in a .pth file is searched, but its own .pth files (our editable install) are not read
    (site,) = home.rglob("site-packages")
    (site / "libraries.pth").write_text("\n".join({sysconfig.get_path(p) for p in ("purelib", "platlib")}))
    return python


def test_it_holds_the_rooms_and_nothing_else(wheel):
    committed = set(files())
    code = {p.relative_to(ROOT).as_posix() for p in modules(ROOT)}
    data = {n for n in committed if n.rpartition("/")[0] in DATA}
    assert {n.rpartition("/")[0] for n in data} == DATA
    info = f"doseloop-{project()['project']['version']}.dist-info"
    expected = {f"doseloop/{n}" for n in (code & committed) | data | {"py.typed"}} | {f"{info}/{n}" for n in INFO}
    assert set(zipfile.ZipFile(wheel).namelist()) == expected


def test_it_is_pure_python_and_asks_only_for_the_libraries(wheel):
    metadata = zipfile.ZipFile(wheel).read(f"doseloop-{project()['project']['version']}.dist-info/METADATA").decode()
    asked = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert wheel.name.endswith("-py3-none-any.whl")
    assert len([a for a in asked if "extra ==" not in a]) == len(project()["project"]["dependencies"])


def test_the_layers_hold_where_it_is_installed(installed):
    (package,) = installed.parents[1].rglob("site-packages/doseloop")
    assert {p.name for p in package.iterdir() if p.is_dir()} - {"__pycache__"} == set(ROOMS)
    assert strays(package) == []
    assert breaches(package) == []


SIMULATION = """
import doseloop
from doseloop.models import load
from doseloop.pkpd.regimen import Bolus
from doseloop.pkpd.simulate import simulate

model = load("phenobarbital_neonate_grasela1985")
out = simulate(model, regimen=Bolus(25.0), times=[2.0], covariates={"weight": 1.4, "apgar": 7.0})
print(doseloop.__file__)
print(out["concentration"][0, 0])
"""

INFANT = """ID,TIME[h],AMT[mg],EVID,MDV,DV[mg/L],WT[kg],APGAR
1,0,25,1,1,.,1.4,7
1,2,.,0,0,17.3,1.4,7
1,12.5,3.5,1,1,.,1.4,7
1,24.5,3.5,1,1,.,1.4,7
"""


def test_it_simulates_from_there(installed, tmp_path):
    where, level = run(installed, "-W", "error", "-c", SIMULATION, cwd=tmp_path).split()
    assert Path(where).is_relative_to(installed.parents[1])
    # one compartment: V 0.96 L/kg, CL 0.0047 L/h/kg
    assert float(level) == pytest.approx(25 / (0.96 * 1.4) * math.exp(-0.0047 / 0.96 * 2), rel=1e-12)


@pytest.mark.skipif(not (ROOT / "cli.py").is_file(), reason="there are no commands yet")
def test_it_recommends_from_there(installed, tmp_path):
    (tmp_path / "infant.csv").write_text(INFANT, encoding="utf-8")
    command = ("-m", "doseloop", "recommend", "infant.csv", "--therapy", "phenobarbital", "--out", "out")
    assert "mg" in run(installed, "-W", "error", *command, cwd=tmp_path, MPLBACKEND="Agg")
    (saved,) = (tmp_path / "out").glob("*.json")
    assert json.loads(saved.read_text(encoding="utf-8"))
