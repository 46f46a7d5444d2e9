"""What stands in the repository, and which room may import what (docs/architecture.md)."""

import ast
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

ROOMS = {
    "safety": set(),
    "pkpd": set(),
    "models": {"pkpd"},
    "virtual": {"models", "pkpd"},
    "therapies": {"models", "virtual", "pkpd", "safety"},
    "twin": {"pkpd", "models", "therapies"},
    "controller": {"twin", "therapies", "pkpd", "safety"},
    "envs": {"twin", "therapies", "virtual", "models", "pkpd", "safety"},
    "policies": {"controller", "twin", "therapies", "virtual", "models", "pkpd", "safety"},
}
FACE = {"__init__.py", "__main__.py", "cli.py", "commands.py"}
INNER = {
    "policies/cohort",
    "policies/evaluation",
    "policies/training",
}  # packages inside a room, where one subject takes many files
DATA = {"policies/hyperparameters", "policies/trained", "therapies/data"}

# Where a library may be imported: a room, or one file of it. Those not named here may be imported anywhere.
LIBRARIES = {
    "casadi": ("pkpd/trace.py", "pkpd/system.py", "controller", "twin"),
    "dask": ("policies/sweep.py",),
    "gymnasium": ("envs", "policies"),
    "joblib": ("policies/sweep.py",),
    "llvmlite": ("pkpd/calls.py", "pkpd/objects.py"),
    "minari": ("envs/dataset.py",),
    "pint": ("pkpd/units.py", "pkpd/balance.py"),
    "ray": ("policies/sweep.py",),
    "sb3_contrib": ("policies",),
    "stable_baselines3": ("policies", "envs/sb3.py"),
    "torch": ("policies",),
}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def files() -> list[str]:
    """Every file that is or would be committed, as paths relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        out = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        names = sorted({n for n in out.split("\0") if n})
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        skip = {"__pycache__", "build", "dist", "out"}
        found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        names = sorted(
            p.as_posix()
            for p in found
            if not any(q in skip or (q.startswith(".") and q not in (".ci", ".gitignore")) for q in p.parts)
            and not any(q.endswith(".egg-info") for q in p.parts)
        )
    return [n for n in names if (ROOT / n).is_file()]


def modules(package: Path) -> list[Path]:
    """The package's modules: the face's, and all under its rooms."""
    face = [package / n for n in sorted(FACE) if (package / n).is_file()]
    return face + [p for room in ROOMS for p in sorted((package / room).rglob("*.py"))]


def imports(path: Path, package: Path):
    """Each import of a file: line, what of ours it names (as a path from the package), else the library."""
    here = path.relative_to(package).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(here[: len(here) - node.level + 1]) + (node.module or "").split(".") * bool(node.module)
            inside = node.level <= len(here) + 1
            for alias in node.names:
                yield node.lineno, [*base, alias.name] if inside else ["(outside the package)"], None
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, None, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, None, alias.name) for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", None)) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and not str(node.args[0].value).startswith(".")
        ):
            yield node.lineno, None, str(node.args[0].value)


def breaches(package: Path) -> list[str]:
    """Every import that the tables forbid, in the repository or in an installed copy."""
    found = []
    for path in modules(package):
        name = path.relative_to(package).as_posix()
        room = name.split("/")[0] if "/" in name else None
        for line, ours, library in imports(path, package):
            where = f"{name}:{line}"
            if ours is not None:
                target = ours[0]
                if room is None or target == room or ours == ["__version__"]:
                    continue
                if target not in ROOMS[room]:
                    found.append(
                        f"{where} imports {'.'.join(ours)}: {room} may import {sorted(ROOMS[room]) or 'nothing'}"
                    )
                continue
            top = library.split(".")[0]
            if top == "doseloop" or top in ROOMS:
                found.append(f"{where} imports {library}: inside the package imports are relative")
            elif top in LIBRARIES and not {name, room} & set(LIBRARIES[top]):
                found.append(f"{where} imports {top}: only {', '.join(LIBRARIES[top])} may")
    return found


def strays(package: Path) -> list[str]:
    """Folders inside a room that are neither data nor a package named above: rooms are one folder deep."""
    inside = (p for room in ROOMS for p in (package / room).rglob("*") if p.is_dir() and p.name != "__pycache__")
    names = (p.relative_to(package).as_posix() for p in inside)
    return [n for n in names if n not in DATA | INNER]
