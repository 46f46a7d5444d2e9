"""The README's table and docs/results.md: every row's numbers come from a committed JSON, and are what stands there."""

import importlib.util

import pytest
from helpers_repository import ROOT

SPEC = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
results = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(results)
ROWS = [
    row
    for path in (results.PAGE, results.TABLE)
    for row in path.read_text(encoding="utf-8").splitlines()
    if row.startswith("|") and not row.startswith(("| what |", "|---"))
]


def test_the_readme_and_the_page_are_what_the_results_say():
    assert (ROOT / "README.md").read_text(encoding="utf-8") == results.readme(), "make results"
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page(), "make results"


@pytest.mark.parametrize("row", ROWS)
def test_every_measured_number_comes_from_a_result(row):
    cells = [c.strip() for c in row.strip("|").split(" | ")]
    assert len(results.PLACE.findall(cells[1])) > 0
    rest = results.PLACE.sub("", cells[1])
    assert "{" not in rest
    assert "}" not in rest


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (203837.07, "3g", "204,000"),
        (0.9996, "2g", "1.0"),
        (5.0, "3g", "5.00"),
        (0.0, "2g", "0"),
        (1e-9, "2g", "1.0e-9"),
        (1.32e-13, "1e", "1.3e-13"),
        (12400000.0, "1e", "1.2e7"),
        (4.136, "+1f", "+4.1"),
        (-1.44, "1f", "−1.4"),
        (9999.7, "4g", "10,000"),
    ],
)
def test_numbers_are_written_as_people_write_them(value, form, text):
    assert results.written(value, form) == text


def test_a_missed_aim_is_marked(monkeypatch):
    monkeypatch.setattr(results, "measured", lambda name: {"a": {"b, c": 2.0}, "rows": [{"name": "x", "h": 3.0}] * 2})
    assert results.filled("{f > a > b, c : 1f ! <= 2}, {f > a > b, c : 1f ! < 2} s") == "2.0, 2.0 ✗ s"
    assert results.filled("{f > rows > sum:h * 0.5 : 0f}; {f > rows > 1 > h / f > a > b, c : 1f}") == "3; 1.5"
    with pytest.raises(KeyError, match="2 entries are called 'x'"):
        results.filled("{f > rows > name=x > h : 0f}")
    with pytest.raises(KeyError, match=r"no 'b'; there are 'b, c'"):
        results.filled("{f > a > b : 0f}")
