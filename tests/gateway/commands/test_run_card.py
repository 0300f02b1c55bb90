"""The approval card as people read it, and their answer."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.commands.run_card import Card, choose, print_card

CARD: dict[str, Any] = {
    "name": "audit",
    "description": "Look at every route",
    "phases": [
        {
            "title": "Scan",
            "detail": "one per file",
            "model": "haiku",
            "calls": 12,
            "models": [{"model": "claude-haiku-5-5", "count": 12}],
        },
        {"title": None, "models": [{"agent_type": "Explore", "count": 1}]},
    ],
    "agents": {"low": 12, "high": 1000, "unbounded": True, "text": "unbounded, capped at 1000"},
    "inheriting_sites": 2,
    "forced_model": None,
    "price": {
        "basis": "history",
        "runs": 3,
        "tokens_low": 900_000,
        "tokens_high": 1_500_000,
        "low_nanousd": 1_500_000_000,
        "high_nanousd": 4_000_000_000,
    },
    "remaining_nanousd": 25_000_000_000,
    "dry_run": {"ended": "calls", "message": "more than 1000 calls", "calls": 1000, "nested": 1},
    "script": "export const meta\nreturn \x1b[2J1",
    "diff": "-old\n+new",
    "consent": {"question": "Run the workflow 'audit'?", "project": "/repo", "script_sha256": "ab" * 32},
    "caution": "Each agent is paid for.",
    "warnings": ["unbounded: line 3 (while)"],
    "approval": {"needed": True, "reason": "the policy asks"},
}


def card(**more: Any) -> Card:
    return msgspec.convert(CARD | more, Card)


def typing(*said: str) -> tuple[Callable[[str], str], list[str]]:
    """Someone who answers so, one after another, and what they were asked."""
    asked: list[str] = []
    answers = iter(said)

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    return ask, asked


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_w140_card_shows_name_phases_caution_and_what_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    print_card(card())
    shown = capsys.readouterr().out
    for text in (
        "workflow audit: Look at every route",
        "ab" * 32,
        "/repo",
        "the policy asks",
        "Each agent is paid for.",
    ):
        assert text in shown
    assert "Scan (one per file) (haiku): 12 agents in the dry run [12 x claude-haiku-5-5]" in shown
    assert "(no phase) [1 x Explore]" in shown


def test_w143_card_shows_bounds_price_models_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_card(card())
    shown = capsys.readouterr().out
    assert "unbounded, capped at 1000" in shown and "unbounded: line 3 (while)" in shown
    assert "$1.50 to $4.00; by the last 3 runs of it" in shown and "900.0k to 1.5M" in shown
    assert "$25.00 of the budget" in shown and "2 call sites name none" in shown


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (
            {"basis": "assumed", "low_nanousd": 5, "high_nanousd": None},
            "not known: there is no price for a model that only the run will tell",
        ),
        ({"basis": "typical", "unpriced": ["claude-house-1"]}, "not known: there is no price for claude-house-1"),
        ({"basis": "assumed", "low_nanousd": 0, "high_nanousd": 10**9}, "a guess: nothing like it ran before"),
        (
            {"basis": "typical", "low_nanousd": 10**9, "high_nanousd": 10**9},
            "price     $1.00 for 12 agents, $1.00 for 1000; by what such agents",
        ),
    ],
    ids=["unknown", "unpriced", "guess", "typical"],
)
def test_w143_price_says_what_it_is_based_on(price: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_card(card(price=price, forced_model="claude-haiku-5-5"))
    shown = capsys.readouterr().out
    assert said in shown and "claude-haiku-5-5 for every agent" in shown


def test_w144_card_tells_when_the_dry_run_did_not_return(capsys: pytest.CaptureFixture[str]) -> None:
    print_card(card())
    assert "1000 agents, 1 nested workflow; it did not return (calls)\n" in capsys.readouterr().out
    print_card(card(dry_run={"ended": "returned", "calls": 3}))
    assert "dry run   3 agents\n" in capsys.readouterr().out


def test_w144_throw_of_the_dry_run_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    thrown = {"ended": "threw", "message": "TypeError: no", "calls": 1}
    print_card(card(dry_run=thrown, warnings=["dry_run_threw: TypeError: no"]))
    shown = capsys.readouterr().out
    assert shown.count("TypeError: no") == 1 and "dry run   1 agent; it did not return (threw)\n" in shown


def test_what_there_is_one_of_is_said_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    phases = [{"title": "Sum up", "calls": 1}]
    print_card(
        card(
            inheriting_sites=1,
            phases=phases,
            price={"basis": "history", "runs": 1, "low_nanousd": 5, "high_nanousd": 5},
        )
    )
    shown = capsys.readouterr().out
    for text in ("1 call site names none and gets", "Sum up: 1 agent in the dry run", "by the last 1 run of it"):
        assert text in shown


@pytest.mark.parametrize(
    ("said", "choice"), [("o", "once"), ("ALWAYS", "always"), (" n ", "no"), ("e", "edit")], ids=str
)
def test_answer_is_read_by_its_first_letter(said: str, choice: str) -> None:
    ask, asked = typing(said)
    assert choose(card(), ask, editable=True) == choice
    assert asked == ["Run the workflow 'audit'? [o]nce, [a]lways, [n]o, [v]iew, [e]dit, [d]iff: "]


def test_looking_is_no_answer_and_script_cannot_steer(capsys: pytest.CaptureFixture[str]) -> None:
    ask, asked = typing("v", "", "yes", "e", "d", "o")
    assert choose(card(), ask, editable=False) == "once"
    shown = capsys.readouterr().out
    assert len(asked) == 6 and "[e]dit" not in asked[0] and "[d]iff" in asked[0]
    assert "export const meta\n" in shown and "\x1b" not in shown and "-old\n+new\n" in shown


def test_fewest_members_are_enough_and_ask() -> None:
    small = msgspec.convert({"name": "a"}, Card)
    ask, asked = typing("n")
    assert small.approval.needed and choose(small, ask, editable=False) == "no" and "Run a?" in asked[0]


def test_w140_card_tells_what_agents_can_touch_and_where_the_run_is_paused(capsys: pytest.CaptureFixture[str]) -> None:
    print_card(card())
    assert "tools     none: it has no workspace" in capsys.readouterr().out
    print_card(card(workspace="/srv/shop", isolations=["worktree"], cap_nanousd=20_000_000_000))
    shown = capsys.readouterr().out
    assert (
        "files below /srv/shop" in shown and "in Git worktrees" in shown and "$20.00: the run is paused there" in shown
    )
