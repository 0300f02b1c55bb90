"""Figures come from the audit trail and the ledger, and money is added up as it was held."""

import json
from pathlib import Path

import msgspec

from gateway.commands.demo.evidence import Trail, figures, most_committed, read_trail, rule_of
from tests.gateway.commands.demo.records import USD, call, hold, limit, request


def test_overlapping_holds_are_added_up() -> None:
    both = [
        request(hold=hold(300, 0), cost=200, seconds=1.0),
        request(hold=hold(400, 500), cost=100, seconds=1.0),
    ]
    assert most_committed(both) == (700, 700)


def test_spend_of_ended_requests_counts_with_what_is_held() -> None:
    one_after_the_other = [
        request(hold=hold(300, 0), cost=200, seconds=0.5),
        request(hold=hold(400, 600), cost=100, seconds=0.5),
    ]
    assert most_committed(one_after_the_other) == (400, 600)


def test_requests_without_a_hold_commit_nothing() -> None:
    assert most_committed([request(reason="budget_exhausted")]) == (0, 0)


def test_asked_is_allowed_plus_denied() -> None:
    refused = request(reason="fuse_blown")
    answered = msgspec.structs.replace(request(), tool_calls=(call("Read"), call("Bash", denied_by="shell/unclear")))
    row = figures(Trail((answered, refused)), limit(spent=5))
    assert (row.requests, row.tool_calls, row.asked, row.allowed, row.denied) == (2, 2, 4, 2, 2)
    assert row.why == {"fuse_blown": 1, "shell/unclear": 1}


def test_spend_is_the_ledgers_also_when_the_trail_says_less() -> None:
    row = figures(Trail((request(hold=hold(300, 0), cost=200),)), limit(spent=2 * USD))
    assert (row.spent_nanousd, row.peak_nanousd, row.cap_nanousd) == (2 * USD, 2 * USD, USD)


def test_agents_are_told_apart_by_how_their_requests_ended() -> None:
    trail = Trail((request(), request("a1"), request("a2", reason="fuse_blown")))
    assert trail.agents(completed=True) == {"a1"} and trail.agents(completed=False) == {"a2"}


def test_trail_keeps_requests_of_the_asked_sessions_only(tmp_path: Path) -> None:
    mine = msgspec.to_builtins(request()) | {"event": "request"}
    others = mine | {"lineage": {"session": "s2", "agent": "main"}}
    nobodys = mine | {"lineage": None}
    lines = [{"event": "decision"}, mine, others, nobodys, {"event": "fuse", "fuse": {}}]
    (tmp_path / "audit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    trail = read_trail(tmp_path / "audit.jsonl", {"s1"})
    assert trail.requests == (request(),) and trail.spent_nanousd == 0


def test_rule_is_what_a_denial_begins_with() -> None:
    assert rule_of(call("Bash", denied_by="shell/pipe_to_shell")) == "shell/pipe_to_shell"
