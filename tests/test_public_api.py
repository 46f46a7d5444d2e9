"""``import doseloop as dl``: light, complete, and the README's example runs."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import doseloop as dl
import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"casadi", "llvmlite", "matplotlib", "numba", "numpy", "pandas", "pint", "scipy", "tqdm"}


def test_import_is_light_and_quick():
    code = (
        "import json, sys, time\nstart = time.perf_counter()\nimport doseloop\n"
        "print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    seconds, modules = zip(*(json.loads(r.stdout) for r in runs))
    assert set(modules[0]) & HEAVY == set()
    assert min(seconds) < 0.5


def test_help_is_light():
    code = "import sys\nfrom doseloop.cli import main\nmain(['--help'])\nprint(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stderr)) & HEAVY == set()


def test_every_public_name_is_there_and_is_listed():
    for name in dl.__all__:
        assert getattr(dl, name) is not None, name
    assert set(dl.__all__) <= set(dir(dl))
    assert len(set(dl.__all__)) == len(dl.__all__)


def test_type_checkers_see_what_runs():
    """The imports under TYPE_CHECKING, the table of homes and __all__ say the same."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    seen = {a.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    lazy = dict(dl._HOME_OF) | {n: (home.rpartition(".")[0] or None) for n, home in dl._MODULES.items()}
    assert seen == lazy
    assert set(dl.__all__) == {*lazy, "example", "__version__"}


def test_names_are_the_objects_of_their_homes():
    for name, home in dl._HOME_OF.items():
        assert getattr(dl, name) is getattr(importlib.import_module(f"doseloop.{home}"), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        dl.recomend  # noqa: B018


def test_example_gives_the_real_infants():
    infants = dl.example("phenobarbital")
    assert len(infants) == 59
    assert sum(len(r.observed) for r in infants) == 155
    with pytest.raises(dl.DoseloopError, match="no patients' data ship"):
        dl.example("vancomycin")


def test_readme_example_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    first, level = capsys.readouterr().out.splitlines()
    assert first == names["answer"].sentence
    assert first.startswith("Give phenobarbital")
    assert level.endswith("mg/L")


def test_docstring_example_is_the_readme_s():
    block = dl.__doc__.partition("::\n")[2].partition("Names are")[0]
    lines = [line.strip() for line in block.splitlines() if line.strip()]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(line in readme for line in lines)


def test_readme_names_files_that_exist_and_commands_that_parse():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    assert (ROOT / "docs/img/demo.png").stat().st_size < 200_000
    from doseloop.cli import _parser

    known = _parser()._subparsers._group_actions[0].choices
    for command in re.findall(r"^doseloop (\w+)", text, re.MULTILINE):
        assert command in known


HEAD = """# Commands

What `doseloop --help` and `doseloop COMMAND --help` print (written by `python tests/test_public_api.py`; a test
compares). Answers go to stdout, progress and errors to stderr. Every command that writes says where; `--out` chooses
the folder. There are no colours. `DOSELOOP_DEBUG=1` shows the traceback of an unexpected failure, `DOSELOOP_CACHE`
moves the folder of compiled code, `COLUMNS` sets the width of tables.
"""


def cli_page() -> str:
    from doseloop.cli import _parser

    parser = _parser()
    commands = parser._subparsers._group_actions[0].choices
    parts = [HEAD, f"```\n{parser.format_help().strip()}\n```"]
    parts += [f"\n## {name}\n\n```\n{p.format_help().strip()}\n```" for name, p in commands.items()]
    return "\n".join(parts) + "\n"


def test_cli_page_is_the_real_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    if sys.version_info < (3, 13):  # argparse of 3.13 and later lists short options differently
        assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == cli_page()
    for command in re.findall(r"^## (\w+)", (ROOT / "docs/cli.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert f"\n## {command}\n" in cli_page()


@pytest.mark.slow
def test_examples_run(tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", ROOT / "examples/infant.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stdout


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    (ROOT / "docs/cli.md").write_text(cli_page(), encoding="utf-8")
