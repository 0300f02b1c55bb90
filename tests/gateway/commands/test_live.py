"""Limits, fuses and sessions as people see them."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from rich.console import Console

from gateway.commands.client import GatewayClient
from gateway.commands.live import (
    AgentRow,
    SessionRow,
    build_tree,
    replace_fuse,
    show_fuse,
    show_fuses,
    show_limits,
    show_sessions,
)
from gateway.core.fuses.evidence import Evidence
from tests.gateway.commands.test_limits import LIMIT

FUSE = {
    "id": "fuse_1",
    "scope": "agent",
    "holder": "s1/a1",
    "meter": "cost",
    "state": "blown",
    "limit": 5_000_000_000,
    "value": 5_100_000_000,
    "at_ms": 1_767_225_600_000,
    "replaced_by": None,
    "replaced_reason": None,
    "baseline": 0,
}


def agent(name: str, parent: str | None, depth: int = 1, **more: Any) -> AgentRow:
    values = {"agent_type": None, "model": "claude-opus-5-5", "requests": 2, "tool_calls": 3, "denials": 1}
    rest = {"cost_nanousd": 120_000_000, "last_seen_ms": 1_767_225_600_000}
    return AgentRow(agent=name, parent=parent, depth=depth, **{**values, **rest, **more})


def session(*agents: AgentRow) -> SessionRow:
    return SessionRow("s1", "alice", "claude-cli", "/repo", 1, 1_767_225_600_000, 240_000_000, list(agents))


@dataclass(frozen=True, slots=True)
class Canned(GatewayClient):
    """Answers from memory."""

    answer: Any = None
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def read(self, path: str, kind: type[Any], **query: str | int | None) -> Any:
        self.asked.append((path, query))
        return msgspec.convert(msgspec.to_builtins(self.answer), kind)

    def send(self, path: str, body: dict[str, Any], kind: type[Any]) -> Any:
        self.asked.append((path, body))
        return msgspec.convert(msgspec.to_builtins(self.answer), kind)


def canned(answer: Any) -> Canned:
    return Canned("http://127.0.0.1:8080", answer=answer)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def drawn(row: SessionRow) -> list[str]:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(build_tree(row))
    return console.export_text().splitlines()


def test_limit_shows_what_is_left_after_spend_and_holds(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned({"limits": [LIMIT]})
    show_limits(client, "team:platform", as_json=False)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("team:platform", "$1.00", "$0.60", "$0.30", "$0.10", "strict", "2026-01-01"))
    assert client.asked == [("/limits", {"account": "team:platform"})]


def test_nothing_to_show_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_limits(canned({"limits": []}), None, as_json=False)
    show_fuses(canned({"fuses": []}), as_json=False)
    show_sessions(canned({"sessions": []}), None, 20, as_json=False)
    show_limits(canned({"limits": []}), "user:[b]eve", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0] == "No limit is set." and lines[3] == "No limit is set on user:[b]eve."


def test_fuse_shows_holder_meter_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    show_fuses(canned({"fuses": [FUSE]}), as_json=False)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("fuse_1", "s1/a1", "cost", "blown", "$5.10", "$5.00"))


def test_one_fuse_is_shown_with_what_repeats_and_who_replaced_it(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = Evidence(('Bash {"command":"a"}', "Read {}"), ('"x"', ""), 24, (48, 2))
    more = {"evidence": evidence, "on_blow": "wrap_up", "replaced_by": "olga", "replaced_reason": "reviewed"}
    client = canned(FUSE | more | {"replacements": 2, "wrapped_up": ("m1", "m2"), "baseline": 5_000_000_000})
    show_fuse(client, "fuse_1", as_json=False)
    shown = capsys.readouterr().out
    for text in ("$0.10 of $5.00", "wrap_up", "2 times, last by olga: reviewed", "2 agents had their last request"):
        assert text in shown
    assert "24 times, in messages 48 to 2 from the end" in shown and shown.rstrip().endswith("result  -")
    assert client.asked == [("/fuses/fuse_1", {})]


@pytest.mark.parametrize("many", [True, False])
def test_fuses_as_json_carry_the_evidence(many: bool, capsys: pytest.CaptureFixture[str]) -> None:
    fuse = FUSE | {"evidence": Evidence(("Bash {}",), ("",), 11, (22, 2))}
    if many:
        show_fuses(canned({"fuses": [fuse]}), as_json=True)
    else:
        show_fuse(canned(fuse), "fuse_1", as_json=True)
    answer = json.loads(capsys.readouterr().out)
    shown = answer["fuses"][0] if many else answer
    assert shown["evidence"] == {"calls": ["Bash {}"], "results": [""], "times": 11, "messages": [22, 2]}


def test_replaced_fuse_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned({**FUSE, "state": "intact"})
    replace_fuse(client, "fuse_1", "looked at it", as_json=False)
    assert "fuse_1 (agent s1/a1, cost) is intact again" in capsys.readouterr().out
    assert client.asked == [("/fuses/fuse_1/replace", {"reason": "looked at it"})]


def test_json_is_what_the_gateway_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_limits(canned({"limits": [LIMIT]}), None, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps({"limits": [LIMIT]}))
    show_sessions(canned(session(agent("main", None, 0))), "s/1", 20, as_json=True)
    assert json.loads(capsys.readouterr().out)["session"] == "s1"


def test_one_session_is_asked_for_by_its_quoted_id() -> None:
    client = canned(session())
    show_sessions(client, "s/1", 20, as_json=True)
    assert client.asked == [("/sessions/s%2F1", {})]


def test_session_is_drawn_as_a_tree_with_cost_calls_denials_and_fuses() -> None:
    row = session(
        agent("main", None, 0), agent("a2", "a1", 2, fuses=["fuse_9"]), agent("a1", "main", agent_type="Explore")
    )
    lines = drawn(row)
    assert "session s1  alice  claude-cli  /repo  $0.24  9 calls, 3 denied" in lines[0]
    assert [line.lstrip("│└├─ ").split("  ")[0] for line in lines[1:]] == ["main", "a1 (Explore)", "a2"]
    indents = [len(line) - len(line.lstrip("│└├─ ")) for line in lines[1:]]
    assert indents[0] < indents[1] < indents[2]
    assert "$0.12  2 requests, 3 calls, 1 denied  fuses: fuse_9" in lines[3]


def test_agent_that_no_call_asked_for_is_marked() -> None:
    lines = drawn(session(agent("main", None, 0), agent("a1", "main", unasked=True)))
    assert [line.endswith("1 denied  no call asked for it") for line in lines[1:]] == [False, True]


@pytest.mark.parametrize(
    "agents",
    [
        (agent("a", "b"), agent("b", "a")),
        (agent("a", "a"),),
        (agent("a", "nobody"),),
        (agent("a", "b"), agent("b", "c"), agent("c", "b"), agent("main", None, 0)),
    ],
)
def test_impossible_parents_lose_no_agent(agents: tuple[AgentRow, ...]) -> None:
    names = {line.lstrip("│└├─ ").split("  ")[0] for line in drawn(session(*agents))[1:]}
    assert names == {row.agent for row in agents}


def test_names_from_clients_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = session(agent("\x1b]0;x\x07[red]", None, 0, agent_type="\x1b[2J"))
    show_sessions(canned({"sessions": [row]}), None, 20, as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]" in shown
