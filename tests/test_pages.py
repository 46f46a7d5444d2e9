"""The pages of the environments are what their generator makes, and leave nothing out."""

import importlib.util
import inspect

import gymnasium
import pytest
from doseloop.envs.registration import IDS
from doseloop.envs.words import WORDS
from gymnasium.envs.registration import load_env_creator
from helpers_repository import ROOT

SPEC = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pages)


@pytest.fixture(scope="module", params=IDS)
def id(request):
    return request.param


def test_the_page_is_what_the_generator_makes(id):
    assert (ROOT / "docs" / "envs" / pages.file_of(id)).read_text(encoding="utf-8") == pages.page(id), "make pages"


def test_no_page_of_an_environment_that_is_gone():
    assert {p.name for p in (ROOT / "docs" / "envs").glob("*.md")} == {pages.file_of(i) for i in IDS}


def test_every_keyword_is_explained(id):
    kind = load_env_creator(gymnasium.spec(id).vector_entry_point)
    told = {n.strip("`") for names, _, text in pages.arguments(kind) for n in names.split(", ") if text}
    keywords = {
        k
        for cls in (kind, pages.DosingVectorEnv)
        for k, p in inspect.signature(cls.__init__).parameters.items()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert keywords - {"self", "features", "levers", "steps", "beside"} - told == set()


def test_every_number_and_part_is_explained(id):
    env = load_env_creator(gymnasium.spec(id).vector_entry_point)()
    assert [f.name for f in env.scale.features if not f.what] == []
    assert [v.name for v in env.actions.levers if not v.what] == []
    assert [k for k in (*env.rewards, *env.costs, "start", "end", "splits") if not WORDS[id].get(k)] == []


def test_docstrings_are_read():
    doc = """Many.

    Args:
        a, b: two things
            over two lines. Default: neither. c: a third. d, e: more.
        f: last ("x: y" is no entry).

    Raises:
        Error: never.
    """
    found = list(pages.described(pages.sections(doc)["Args"]))
    assert found == [
        (["a", "b"], "two things over two lines. Default: neither."),
        (["c"], "a third."),
        (["d", "e"], "more."),
        (["f"], 'last ("x: y" is no entry).'),
    ]
