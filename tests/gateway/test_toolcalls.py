"""What becomes of a held tool call, with a fake engine that remembers what it was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from gateway.boards import Boards
from gateway.boards.approvalboard import ApprovalBoard, Heard
from gateway.boards.controlboard import ControlBoard
from gateway.boards.fuseboard import FuseBoard
from gateway.config.model import Approvals
from gateway.context import RequestContext
from gateway.core.agents.lineage import Opening, SessionNode, Tree
from gateway.core.decisions.decision import (
    Action,
    Decision,
    Lineage,
    Obligation,
    Principal,
    Query,
    Run,
    ScriptProfile,
    Spawn,
    ToolCall,
    ToolFacts,
    denied,
)
from gateway.core.fuses.fuse import FuseBox, FuseLimits, FuseRecord
from gateway.core.fuses.loops import Streaks
from gateway.core.gate.gate import HeldCall
from gateway.core.money.budgets import Expired
from gateway.core.money.limits import LimitRow, Limits, Series
from gateway.decider import Decider
from gateway.stores.memory import MemoryStore
from gateway.tasks import Tasks
from gateway.toolcalls import ToolCalls
from tests.support.clock import FakeClock


@dataclass
class FakeEngine:
    """Allows everything but what `deny` names by action kind."""

    deny: frozenset[str] = frozenset()
    obligations: tuple[Obligation, ...] = ()
    asked: list[Action] = field(default_factory=list[Action])
    revision: str = "fake"

    async def decide(self, query: Query) -> Decision:
        self.asked.append(query.action)
        kind = type(query.action).__name__
        return denied("test/deny", "no") if kind in self.deny else Decision(True, obligations=self.obligations)


@dataclass
class FakeRecords:
    """Audit sink and telemetry that keep what they are given."""

    decisions: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    fuses: list[FuseRecord] = field(default_factory=list[FuseRecord])
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None:
        self.decisions.append((decision_id, decision.allow))

    def fuse(self, record: FuseRecord) -> None:
        self.fuses.append(record)

    def record(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append((event, dict(fields)))

    def decided(self, query: Query, decision: Decision, seconds: float) -> None: ...
    def fuse_blown(self, scope: str, meter: str) -> None: ...
    def request(self, ctx: RequestContext) -> None: ...
    def request_started(self) -> None: ...
    def request_ended(self, ctx: RequestContext) -> None: ...
    def agent_seen(self, via: str) -> None: ...
    def held(self, ctx: RequestContext) -> None: ...
    def limit_refused(self, series: Series) -> None: ...
    def overshot(self, limit: LimitRow, amount: int) -> None: ...
    def hold_expired(self, count: int) -> None: ...
    def expired(self, expired: Expired, at_ms: int) -> None: ...
    def corrected(self, hold_id: str, at_ms: int) -> None: ...


@dataclass
class Bench:
    """Tool calls with their fakes, and a request to make them for."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    limits: FuseLimits = field(default_factory=FuseLimits)
    records: FakeRecords = field(default_factory=FakeRecords)

    def __post_init__(self) -> None:
        clock, store, self.tree = FakeClock(), MemoryStore(Limits()), Tree()
        self.store = store
        decider = Decider(self.engine, store, [self.records], self.records, clock)
        heard = Heard(self.records.record, lambda change, item: None)
        self.boards = Boards(
            ControlBoard(store, lambda record: None, clock, hold_wait_seconds=0.01),
            FuseBoard(FuseBox(self.limits), store, self.records, self.records, clock, self.tree),
            ApprovalBoard(store, Approvals(), heard, Tasks(), clock),
        )
        self.calls = ToolCalls(
            decider,
            self.boards,
            classify=lambda tool: ("exec", None),
            describe=lambda tool, tool_input, workspace: ToolFacts(),
            profile=lambda script: ScriptProfile(valid=True, name=script),
        )
        self.ctx = RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, 0.0)
        self.ctx.principal = Principal(org="acme", team="platform", user="alice", credential="laptop")
        self.ctx.lineage = Lineage(session="s", agent="main")
        self.ctx.agent = self.tree.add(SessionNode("s", "laptop", "alice", "", inferred=False), "main", None, 0)


def held(name: str, tool_input: dict[str, Any] | None, problem: str | None = None) -> HeldCall:
    """A call as the gate yields it."""
    return HeldCall(index=0, id="toolu_1", name=name, input=tool_input, problem=problem)


async def test_allowed_call_passes_and_is_counted_and_recorded() -> None:
    bench = Bench()
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"})) is None
    assert bench.records.decisions == [("dec_1.1", True)]
    assert bench.ctx.agent is not None and bench.ctx.agent.used.tool_calls == 1


async def test_denied_call_says_why_under_its_own_decision_id() -> None:
    bench = Bench(FakeEngine(frozenset({"ToolCall"})))
    denial = await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"}))
    assert denial is not None and (denial.reason, denial.decision) == ("test/deny: no", "dec_1.1")
    assert bench.ctx.agent is not None and bench.ctx.agent.session.used.denials == 1


async def test_unreadable_call_is_denied_without_asking_and_recorded() -> None:
    bench = Bench()
    denial = await bench.calls.decide(bench.ctx, held("Bash", None, "its input is not JSON"))
    assert denial is not None and "its input is not JSON" in denial.reason
    assert (bench.engine.asked, bench.records.decisions) == ([], [("dec_1.1", False)])


@pytest.mark.parametrize("tool", ["Agent", "Task"])
async def test_call_for_an_agent_asks_about_the_spawn_too(tool: str) -> None:
    bench = Bench()
    prompt = {"prompt": "look", "subagent_type": "Explore", "model": "haiku", "run_in_background": True}
    assert await bench.calls.decide(bench.ctx, held(tool, prompt)) is None
    assert bench.engine.asked[1] == Spawn(
        "tool_use", "Explore", "haiku", 4, sha256(b"look").hexdigest(), background=True, parent_type="main"
    )
    assert bench.ctx.agent is not None
    claimed = bench.ctx.agent.session.claim(Opening(("look",)))
    assert claimed is not None and claimed.agent_type == "Explore"


async def test_denied_spawn_denies_the_call_and_expects_nobody() -> None:
    bench = Bench(FakeEngine(frozenset({"Spawn"})))
    assert await bench.calls.decide(bench.ctx, held("Agent", {"prompt": "look"})) is not None
    assert bench.ctx.agent is not None and len(bench.ctx.agent.session.expected) == 0


async def test_workflow_call_asks_about_its_script() -> None:
    bench = Bench()
    await bench.calls.decide(bench.ctx, held("Workflow", {"script": "export const meta = {}", "args": [1]}))
    run = bench.engine.asked[1]
    assert isinstance(run, Run) and run.profile is not None and run.profile.name == "export const meta = {}"
    assert (run.opaque, len(run.script_sha256 or ""), run.source) == (False, 64, "claude-code")


@pytest.mark.parametrize("named", [{"name": "x"}, {"scriptPath": "/x.js"}, {"script": "x", "scriptPath": "/x.js"}, {}])
async def test_workflow_that_is_only_named_is_opaque(named: dict[str, Any]) -> None:
    bench = Bench()
    await bench.calls.decide(bench.ctx, held("Workflow", named))
    run = bench.engine.asked[1]
    assert isinstance(run, Run) and (run.opaque, run.profile, run.script_sha256) == (True, None, None)


async def test_tool_call_fuse_denies_the_call_that_passes_it() -> None:
    bench = Bench(limits=FuseLimits(agent={"tool_calls": 2}))
    denials = [await bench.calls.decide(bench.ctx, held("Bash", {"command": str(n)})) for n in range(3)]
    assert [denial is None for denial in denials] == [True, True, False]
    assert "ringfence fuses replace" in (denials[2].reason if denials[2] else "")
    assert len(bench.engine.asked) == 2


async def test_identical_call_fuse_counts_the_history_and_this_call() -> None:
    bench = Bench(limits=FuseLimits(agent={"identical_tool_calls": 3}))
    bench.ctx.streaks = Streaks(3, 0, ("Bash", {"command": "ls"}))
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"})) is not None


async def test_another_call_between_breaks_the_streak_and_calls_of_one_answer_add_up() -> None:
    bench = Bench(limits=FuseLimits(agent={"identical_tool_calls": 2}))
    bench.ctx.streaks = Streaks(2, 0, ("Bash", {"command": "ls"}))
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "pwd"})) is None
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "pwd"})) is None
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "pwd"})) is not None


async def test_obligation_that_cannot_be_met_denies() -> None:
    bench = Bench(FakeEngine(obligations=(Obligation("require_approval"),)))
    denial = await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"}))
    assert denial is not None and "a rule asks for an approval that cannot be asked for" in denial.reason


async def test_obligation_that_can_be_met_allows() -> None:
    bench = Bench(FakeEngine(obligations=(Obligation("log_full"),)))
    assert await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"})) is None


async def test_policy_sees_the_call_as_the_model_wrote_it() -> None:
    bench = Bench()
    await bench.calls.decide(bench.ctx, held("Bash", {"command": "ls"}))
    (action,) = bench.engine.asked
    assert isinstance(action, ToolCall)
    assert (action.tool, action.input, action.tool_class) == ("Bash", {"command": "ls"}, "exec")
