"""The leaderboard is what its files say: the page and the README's table, and what is played anew."""

import importlib.util

import numpy as np
import pytest
from doseloop.policies.evaluation.arms import ENVS
from doseloop.policies.evaluation.saved import Saved
from helpers_repository import ROOT

SPEC = importlib.util.spec_from_file_location("leaderboard", ROOT / "benchmarks" / "leaderboard.py")
board = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(board)


def test_the_readme_s_table_is_that_of_the_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert board.readme(text, board.RESULTS) == text, "benchmarks/leaderboard.py --write"


@pytest.mark.slow
def test_the_page_is_that_of_the_files():
    assert board.PAGE.read_text(encoding="utf-8").rstrip() == board.page(board.RESULTS).rstrip(), "… --write"


def test_all_stands_with_its_seeds_and_commits():
    for therapy in ENVS:
        for saved in board.kept(board.RESULTS, therapy):
            for key, r in saved.rows.items():
                assert len(r) == saved.patients == len(set(r.who.tolist())), "every episode is another patient"
                assert r.seeds.min() >= board.SEED
                assert saved.about[key]["made"]["commit"], key


def test_rows_are_played_once_and_networks_that_have_gone_go(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(board, "policies", lambda therapy, arm: ["zero", "usual"])
    board.play("phenobarbital", ["nominal"], tmp_path, (4, 2), False, 1)
    path = tmp_path / "leaderboard_phenobarbital.json"
    first = path.read_text(encoding="utf-8")
    monkeypatch.setattr(board, "policies", lambda therapy, arm: ["usual", "random"])
    board.play("phenobarbital", ["nominal"], tmp_path, (4, 2), False, 1)
    assert "2 rows" in capsys.readouterr().out.splitlines()[0]
    saved, before = Saved.read(path), tmp_path / "before.json"
    before.write_text(first, encoding="utf-8")
    assert list(saved.rows) == [("usual", "nominal"), ("random", "nominal")]
    same = Saved.read(before).rows["usual", "nominal"]
    assert np.array_equal(same.returns, saved.rows["usual", "nominal"].returns)
    board.play("phenobarbital", ["shifted"], tmp_path, (4, 2), False, 1)
    assert (tmp_path / "leaderboard_phenobarbital_arms.json").exists()
    text = board.page(tmp_path)
    assert "## Phenobarbital, nominal" in text
    assert "4 patients, seeds from 20000" in text
    assert "## Phenobarbital, shifted" in text
    filled = board.readme(f"a\n{board.BEGIN}\nold\n{board.END}\nb\n", tmp_path)
    assert filled.startswith(f"a\n{board.BEGIN}\n")
    assert filled.endswith(f"{board.END}\nb\n")
    assert "| phenobarbital | usual protocol |" in filled
    assert "old" not in filled


def test_every_algorithm_that_ships_is_there(monkeypatch):
    monkeypatch.setattr(
        board.network, "shipped", lambda: ["glucose-ppo-0", "glucose-ppo-1", "glucose-sac-0", "x-ppo-0"]
    )
    assert {"usual", "oracle", "ppo", "ppo+guard", "sac", "sac+guard", "ppo-*", "sac-*"} <= set(
        board.policies("glucose", "nominal")
    )
    assert "ppo-*" not in board.policies("glucose", "shifted")
