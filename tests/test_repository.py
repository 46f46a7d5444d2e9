"""What is committed: no machine's paths or hosts, nothing large, one version, exact constraints, true docs."""

import re
import subprocess
import sys
from pathlib import Path

import doseloop
import pytest
from helpers_repository import ROOT, files, project

# Written so that no pattern matches its own text.
FORBIDDEN = {
    "a machine's path": r"/(?:home|Users|root|work|opt|mnt|srv)/\w|/tmp/\w|[A-Z]:\\\\?Users",
    "a registry's host": r"(?i)pypi[.]org|python[h]osted|conda[-.](?:forge|org)|artifac[t]ory|[j]frog|dev[p]i",
    "an index option": r"(?:index|extra-index|find|trusted)-(?:url|links|host)[ =]",
}
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.]*")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def faults(content: str) -> list[str]:
    return [
        f"line {n}: {what}: {hit.group()}"
        for n, line in enumerate(content.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        for hit in re.finditer(pattern, line)
    ]


def test_no_paths_or_hosts_of_a_machine():
    found = {name: faults(text(name)) for name in files()}
    assert {name: f for name, f in found.items() if f} == {}
    here = [str(ROOT), str(Path.home())]
    assert [n for n in files() for h in here if len(h) > 1 and re.search(re.escape(h) + r"(?!\w)", text(n))] == []


@pytest.mark.parametrize("line", ["see |home|ann|x", "from |tmp|a", "--index|url=x".replace("|", "-"), "at pypi|org"])
def test_a_path_or_host_is_found(line):
    assert faults(line.replace("pypi|", "pypi.").replace("|", "/"))


def test_no_file_is_large():
    # the leaderboard keeps every episode of a thousand patients and each policy
    most = {n: 3_000_000 if n.startswith("benchmarks/results/leaderboard_") else 1_000_000 for n in files()}
    assert [n for n in files() if (ROOT / n).stat().st_size > most[n]] == []


def test_license():
    head = text("LICENSE").split()[:4]
    assert head == ["Apache", "License", "Version", "2.0,"]
    assert project()["project"]["license"] == "Apache-2.0"


def test_one_version():
    newest = re.search(r"^## (?!Unreleased$)(\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert project()["project"]["version"] == doseloop.__version__ == newest[1]


def test_constraints_are_exact_and_complete():
    lines = text("constraints.txt").splitlines()
    assert [line for line in lines if not REQUIREMENT.fullmatch(line)] == []
    pinned = [canonical(line.split("==")[0]) for line in lines]
    assert len(pinned) == len(set(pinned))
    table = project()["project"]
    wanted = table["dependencies"] + [r for extra in table["optional-dependencies"].values() for r in extra]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", r)[0]) for r in wanted}
    assert names - {"doseloop"} - set(pinned) == set()  # an extra may ask for another of ours


def test_the_docs_index_names_every_page():
    index = text("docs/README.md")
    pages = [n.removeprefix("docs/") for n in files() if n.startswith("docs/") and n.endswith(".md")]
    templates = [p for p in pages if p.endswith(".in.md")]
    assert [p for p in pages if p not in ("README.md", *templates) and f"({p})" not in index] == []


def test_links_in_docs_lead_somewhere():
    broken = []
    for name in (n for n in files() if n.endswith(".md")):
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(name))
        inside = [t for t in targets if "://" not in t and not t.startswith("mailto:")]
        broken += [f"{name}: {t}" for t in inside if not ((ROOT / name).parent / t).exists()]
    assert broken == []


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="there is no README yet")
def test_the_example_in_the_readme_runs(tmp_path):
    block = re.search(r"^```python\n(.*?)^```", text("README.md"), re.DOTALL | re.MULTILINE)
    assert block is not None, "the README shows no Python"
    script = tmp_path / "example.py"
    script.write_text(block[1], encoding="utf-8")
    run = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
