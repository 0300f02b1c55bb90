"""Questions that wait for people, on one gateway and on two that share a store."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.boards.approvalboard import (
    BEAT_SECONDS,
    FIRST_REQUEST_SECONDS_MAX,
    OVERDUE_MS,
    SILENT_SECONDS,
    ApprovalBoard,
    Change,
    Heard,
    Shown,
)
from gateway.config.model import Approvals
from gateway.context import RequestContext
from gateway.core.decisions.decision import Action, Decision, Lineage, Obligation
from gateway.core.money.limits import Limits
from gateway.core.oversight import approvalbook
from gateway.core.oversight.approvals import AlreadyDecided, ApprovalUnknown, Item, NotAllowed, Scope
from gateway.core.oversight.scripts import Approval
from gateway.errors import Reason, Refused
from gateway.ports import RecordChange, RecordKind
from gateway.stores.memory import MemoryStore
from gateway.tasks import Tasks
from tests.gateway.core.oversight.approvalcases import ALICE, SCRIPT, call, demanding, item, run, spawn
from tests.support.clock import FakeClock


class Store(MemoryStore):
    """May be away."""

    away = False

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        if self.away:
            raise Refused(Reason.STORE_UNAVAILABLE, "the database is away")
        return await super().change_record(kind, id, change)


def request(user: str = "alice", session: str = "s1") -> RequestContext:
    ctx = RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, 0.0)
    ctx.principal = type(ALICE)(org="acme", team="platform", user=user, credential=f"{user}-laptop")
    ctx.lineage = Lineage(session=session, agent="main")
    return ctx


@dataclass
class Bench:
    """A board with its store; `changes` are told as they come, `trail` is what the audit trail would hold."""

    store: Store = field(default_factory=lambda: Store(Limits()))
    clock: FakeClock = field(default_factory=FakeClock)
    settings: Approvals = Approvals()
    changes: "asyncio.Queue[tuple[Change, Item]]" = field(default_factory=asyncio.Queue)
    trail: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list[tuple[str, Mapping[str, Any]]])

    def __post_init__(self) -> None:
        self.tasks = Tasks()
        heard = Heard(lambda event, fields: self.trail.append((event, fields)), self._changed)
        self.board = ApprovalBoard(self.store, self.settings, heard, self.tasks, self.clock)

    def _changed(self, change: Change, one: Item) -> None:
        self.changes.put_nowait((change, one))

    def start(
        self, action: Action | None = None, decision: Decision | None = None, *, text: str | None = None, **who: Any
    ) -> "asyncio.Task[Decision]":
        asked = self.board.approved(
            request(**who), action or call(), decision or demanding(), decision_id="dec_1.1", shown=Shown(text)
        )
        return asyncio.get_running_loop().create_task(asked)

    async def ask(self, *args: Any, **fields: Any) -> "tuple[Item, asyncio.Task[Decision]]":
        """Ask, and go on once the question is in the queue."""
        task = self.start(*args, **fields)
        change, one = await self.changes.get()
        assert change == "asked"
        return one, task

    async def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.board.tidy()


async def poll(store: MemoryStore, *benches: Bench) -> None:
    """Every gateway learns what any of them wrote."""
    changed = await store.changed_records()
    for each in benches:
        each.board.learn(changed)


def pair() -> tuple[Bench, Bench]:
    """Two gateways on one store."""
    one = Bench()
    return one, Bench(one.store, one.clock)


async def test_decision_that_asks_for_nothing_passes_at_once() -> None:
    bench = Bench()
    for decision in (Decision(True), Decision(False), Decision(True, obligations=(Obligation("log_full"),))):
        assert await bench.start(decision=decision) == decision
    assert bench.trail == [] and bench.board.waiting() == 0


async def test_approved_call_goes_on_and_the_word_is_recorded() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    assert (one.title, one.state, one.what["input"]) == ("Bash: make deploy", "waiting", {"command": "make deploy"})
    decided = await bench.board.decide(one.id, "approve", by="olga", why="checked")
    assert (await asked).allow and decided.state == "approved"
    assert [(event, fields["change"], fields["state"]) for event, fields in bench.trail] == [
        ("approval", "asked", "waiting"),
        ("approval", "approved", "approved"),
    ]
    (said,) = bench.trail[1][1]["decisions"]
    assert (said.by, said.why, said.scope, said.at_ms) == ("olga", "checked", "once", bench.clock.now_ms)


async def test_denied_call_is_told_who_and_why() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    await bench.board.decide(one.id, "deny", by="olga", why="not today")
    decision = await asked
    assert not decision.allow and "olga denied it: not today" in decision.message
    assert decision.reasons[0].rule == "approval/denied"


async def test_obligation_that_cannot_be_met_denies_and_asks_nobody() -> None:
    bench = Bench()
    decision = await bench.start(decision=demanding(scope="call"))
    assert not decision.allow and decision.reasons[0].rule == "engine/obligation"
    assert bench.board.waiting() == 0 and bench.trail == []


@pytest.mark.parametrize(
    ("action", "value", "seconds"),
    [
        (call(), {}, 600),
        (call(), {"expires_seconds": 30}, 30),
        (spawn(via="first_request"), {}, FIRST_REQUEST_SECONDS_MAX),
        (spawn(via="first_request"), {"expires_seconds": 30}, 30),
        (spawn(), {}, 600),
    ],
)
async def test_question_nobody_answers_becomes_a_denial_in_time(
    action: Action, value: dict[str, Any], seconds: int
) -> None:
    bench = Bench()
    _, asked = await bench.ask(action, demanding(**value))
    await bench.pass_seconds(seconds - 1)
    assert not asked.done() and bench.board.oldest_seconds() == seconds - 1
    await bench.pass_seconds(1)
    decision = await asked
    assert not decision.allow and f"nobody answered within {seconds} seconds" in decision.message
    assert (await bench.changes.get())[0] == "expired" and bench.board.waiting() == 0


async def test_question_expires_also_while_the_store_is_away() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    bench.store.away = True
    await bench.pass_seconds(600)
    assert not (await asked).allow
    (found,) = [record for record in await bench.store.load_records() if record.id == one.id]
    assert b'"state":"expired"' in (found.text or b"")


async def test_question_that_cannot_be_kept_is_a_denial() -> None:
    bench = Bench()
    bench.store.away = True
    decision = await bench.start()
    assert not decision.allow and "the database is away" in decision.message
    assert len(bench.board.book) == 0 and bench.board.waiting() == 0


async def test_client_that_leaves_withdraws_its_question() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    asked.cancel()
    change, gone = await bench.changes.get()
    assert (change, gone.id, gone.state) == ("withdrawn", one.id, "withdrawn")
    with pytest.raises(AlreadyDecided, match="already withdrawn"):
        await bench.board.decide(one.id, "approve", by="olga")


async def test_word_on_an_unknown_item_is_refused() -> None:
    with pytest.raises(ApprovalUnknown, match="apr_none"):
        await Bench().board.decide("apr_none", "approve", by="olga")


async def test_four_eyes_of_rule_or_configuration_keep_the_user_from_deciding() -> None:
    for bench, decision in ((Bench(), demanding(four_eyes=True)), (Bench(settings=Approvals(four_eyes=True)), None)):
        one, asked = await bench.ask(decision=decision)
        with pytest.raises(NotAllowed, match="four eyes"):
            await bench.board.decide(one.id, "approve", by="alice")
        assert not asked.done()
        await bench.board.decide(one.id, "approve", by="olga")
        assert (await asked).allow


@pytest.mark.parametrize(
    ("scope", "who", "answered"),
    [
        ("once", {}, False),
        ("session", {}, True),
        ("session", {"session": "s2"}, False),
        ("always", {"session": "s2"}, True),
        ("always", {"session": "s2", "user": "bob"}, True),
    ],
)
async def test_remembered_approval_answers_at_once_within_its_scope(
    scope: Scope, who: dict[str, Any], answered: bool
) -> None:
    bench = Bench()
    one, asked = await bench.ask()
    await bench.board.decide(one.id, "approve", by="olga", scope=scope)
    await asked
    await bench.changes.get()
    again = bench.start(**who)
    change, _ = await bench.changes.get()
    assert change == ("remembered" if answered else "asked")
    if answered:
        assert f"olga approved it for {'this session' if scope == 'session' else 'good'}" in (await again).message
        assert bench.trail[-1][1]["change"] == "remembered"
    else:
        again.cancel()


async def test_revoked_approval_asks_again() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    await bench.board.decide(one.id, "approve", by="olga", scope="always")
    await asked
    assert (await bench.board.decide(one.id, "revoke", by="otto", why="over")).granted is None
    assert [(await bench.changes.get())[0] for _ in range(2)] == ["approved", "revoked"]
    _, again = await bench.ask()
    assert not again.done()
    again.cancel()


async def test_deciding_one_for_a_session_decides_the_others_it_covers() -> None:
    bench = Bench()
    one, first = await bench.ask()
    two, second = await bench.ask()
    three, other = await bench.ask(session="s2")
    await bench.board.decide(one.id, "approve", by="olga", scope="session")
    assert (await first).allow and (await second).allow and not other.done()
    covered = bench.board.book.find(two.id)
    assert covered is not None and covered.last is not None
    assert (covered.last.by, covered.last.through) == ("olga", one.id)
    assert [each.id for each in bench.board.book.waiting()] == [three.id]
    other.cancel()


async def test_too_many_questions_of_a_session_are_denied() -> None:
    bench = Bench()
    for number in range(approvalbook.WAITING_PER_SESSION_MAX):
        bench.board.book.put(item(id=f"apr_{number}"))
    decision = await bench.start()
    assert not decision.allow and decision.reasons[0].rule == "approval/full"
    one, asked = await bench.ask(session="s2")
    assert one.lineage.session == "s2"
    asked.cancel()


async def test_script_is_kept_for_the_reader_and_approved_for_good_in_the_registry() -> None:
    bench = Bench()
    one, asked = await bench.ask(run(), text=SCRIPT)
    kept = bench.board.scripts.book.find("a" * 64)
    assert kept is not None and (kept.text, kept.state, one.script_sha256) == (SCRIPT, "proposed", "a" * 64)
    assert bench.board.registered("a" * 64) is None
    await bench.board.decide(one.id, "approve", by="olga", scope="always", why="read it")
    entry = bench.board.registered("a" * 64)
    assert (await asked).allow and entry is not None and (entry.by, entry.name) == ("olga", "sweep")
    assert bench.trail[-1][0] == "script" and "text" not in [
        name for name, value in bench.trail[-1][1].items() if value
    ]
    await bench.changes.get()
    assert (await bench.start(run(), session="s9")).allow
    assert (await bench.changes.get())[0] == "remembered"


async def test_registering_a_script_lets_the_runs_go_on_that_wait_for_it() -> None:
    bench = Bench()
    _, asked = await bench.ask(run(), text=SCRIPT)
    _, strict = await bench.ask(run(), demanding(remember="once"), text=SCRIPT)
    await bench.board.scripts.register(Approval("a" * 64, "olga", bench.clock.now_ms, "read it"))
    assert "by " + "a" * 64 in (await asked).message and not strict.done()
    assert (await bench.changes.get())[0] == "approved"
    await bench.board.scripts.revoke("a" * 64, by="olga", why="old")
    _, again = await bench.ask(run(), text=SCRIPT)
    for task in (strict, again):
        task.cancel()


async def test_question_is_seen_and_decided_on_another_gateway() -> None:
    one, two = pair()
    asked_item, asked = await one.ask()
    await poll(one.store, one, two)
    assert [each.id for each in two.board.book.waiting()] == [asked_item.id] and two.board.waiting() == 0
    await two.board.decide(asked_item.id, "approve", by="olga", scope="always")
    assert not asked.done()
    await poll(one.store, one, two)
    assert (await asked).allow
    assert two.changes.get_nowait()[0] == "approved" and one.changes.empty()
    assert (await one.start()).allow and (await two.start(session="s7")).allow


async def test_two_deciders_get_one_order() -> None:
    one, two = pair()
    asked_item, asked = await one.ask()
    await two.board.decide(asked_item.id, "deny", by="otto")
    with pytest.raises(AlreadyDecided, match="already denied by otto"):
        await one.board.decide(asked_item.id, "approve", by="olga")
    assert not (await asked).allow


async def test_remembered_approval_of_another_gateway_covers_what_waits_here() -> None:
    one, two = pair()
    elsewhere, other = await two.ask()
    _, asked = await one.ask()
    await two.board.decide(elsewhere.id, "approve", by="olga", scope="session")
    await poll(one.store, one, two)
    assert (await asked).allow and (await other).allow


async def test_item_of_a_gateway_that_fell_silent_is_withdrawn() -> None:
    one, two = pair()
    asked_item, asked = await one.ask()
    await poll(one.store, one, two)
    for _ in range(4):
        await one.pass_seconds(BEAT_SECONDS)
        await poll(one.store, one, two)
        await two.board.tidy()
    assert two.board.book.find(asked_item.id) == asked_item
    await two.pass_seconds(SILENT_SECONDS + 1)
    gone = two.board.book.find(asked_item.id)
    assert gone is not None and gone.state == "withdrawn"
    await poll(one.store, one, two)
    assert not (await asked).allow


async def test_item_that_nobody_ends_in_time_is_ended_by_another_gateway() -> None:
    one, two = pair()
    asked_item, asked = await one.ask()
    one.clock.advance(600 + OVERDUE_MS / 1000)
    await poll(one.store, two)
    await two.board.tidy()
    assert two.changes.get_nowait()[0] == "expired"
    ended = two.board.book.find(asked_item.id)
    assert ended is not None and ended.state == "expired"
    asked.cancel()


async def test_restart_withdraws_what_waited_and_keeps_what_is_remembered() -> None:
    bench = Bench()
    granted, asked = await bench.ask()
    await bench.board.decide(granted.id, "approve", by="olga", scope="always")
    await asked
    await bench.changes.get()
    left, waiting = await bench.ask(call("make clean"))
    after = Bench(bench.store, bench.clock)
    await after.board.restore(await bench.store.load_records(), shared=False)
    gone = after.board.book.find(left.id)
    assert gone is not None and gone.last is not None and gone.last.why == "the gateway was restarted"
    assert (await after.start()).allow and after.board.book.waiting() == []
    waiting.cancel()


async def test_start_beside_another_gateway_withdraws_nothing() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    after = Bench(bench.store, bench.clock)
    await after.board.restore(await bench.store.load_records(), shared=True)
    await after.board.tidy()
    assert [each.id for each in after.board.book.waiting()] == [one.id]
    asked.cancel()


async def test_removed_record_of_a_waiting_item_denies_it() -> None:
    bench = Bench()
    one, asked = await bench.ask()
    await bench.store.change_record("approval", one.id, lambda _: None)
    await poll(bench.store, bench)
    assert not (await asked).allow and bench.board.book.find(one.id) is None


async def test_record_that_cannot_be_read_is_left_out() -> None:
    bench = Bench()
    bench.store.save_record("approval", "apr_odd", b"{}")
    bench.store.save_record("script", "b" * 64, b"[")
    await poll(bench.store, bench)
    assert len(bench.board.book) == 0 and bench.board.scripts.book.listed() == []


async def test_old_items_and_signs_of_life_are_removed_from_the_store() -> None:
    one, two = pair()
    _, asked = await one.ask()
    await one.board.tidy()
    asked.cancel()
    await one.changes.get()
    for number in range(approvalbook.ENDED_KEPT_MAX + 3):
        two.board.book.put(item(id=f"apr_{number}", state="denied", asked_at_ms=number))
    await poll(one.store, one, two)
    await two.pass_seconds(SILENT_SECONDS + 1)
    assert len(two.board.book) == approvalbook.ENDED_KEPT_MAX
    assert [record.id for record in await one.store.load_records() if record.id.startswith("gateway_")] == []


def remembered(bench: Bench, action: Action | None = None, **who: Any) -> "asyncio.Task[Decision]":
    """Somebody asks who cannot wait."""
    asked = bench.board.remembered(request(**who), action or call(), demanding(remember="always"), decision_id="dec_2")
    return asyncio.get_running_loop().create_task(asked)


async def test_who_cannot_wait_is_denied_and_nobody_is_asked() -> None:
    bench = Bench()
    decision = await remembered(bench)
    assert not decision.allow and decision.reasons[0].rule == "approval/unasked"
    assert bench.changes.empty() and await bench.store.load_records() == []


async def test_who_cannot_wait_has_what_was_approved_before() -> None:
    bench = Bench()
    one, asked = await bench.ask(decision=demanding(remember="always"))
    await bench.board.decide(one.id, "approve", by="olga", scope="always")
    await asked
    decision = await remembered(bench, session="another")
    assert decision.allow and [each.kind for each in decision.obligations] == ["log_full"]


async def test_who_cannot_wait_has_what_another_gateway_was_just_told_of_this_agent_alone() -> None:
    one, two = pair()
    item, asked = await one.ask()
    here, elsewhere, other = remembered(two), remembered(two, session="another"), remembered(two, call("make x"))
    await one.board.decide(item.id, "approve", by="olga")
    await poll(one.store, one, two)
    assert (await asked).allow and (await here).allow
    assert not (await elsewhere).allow and not (await other).allow and not (await remembered(one)).allow


async def test_who_cannot_wait_has_nothing_of_what_was_just_revoked() -> None:
    one, two = pair()
    item, asked = await one.ask()
    await one.board.decide(item.id, "approve", by="olga", scope="always")
    await one.board.decide(item.id, "revoke", by="olga")
    await poll(one.store, one, two)
    assert (await asked).allow and not (await remembered(two)).allow
