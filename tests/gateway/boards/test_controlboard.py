"""Controls on one gateway and on several, and the tasks that they interrupt. The store is a fake that all share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.boards.controlboard import ControlBoard
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode, SessionNode
from gateway.core.decisions.decision import Lineage, Principal
from gateway.core.oversight import controls
from gateway.core.oversight.controls import Action, ControlRecord, ControlRefused, Order
from gateway.core.wire.body import peek
from gateway.errors import Reason, Refused
from gateway.ports import RecordChange, RecordKind, SharedRecord
from tests.support.clock import FakeClock
from tests.support.gateway import request_body


@dataclass
class FakeRecords:
    """One store; `away`: it takes nothing that must be kept at once."""

    kept: dict[tuple[RecordKind, str], bytes] = field(default_factory=dict[tuple[RecordKind, str], bytes])
    away: bool = False
    stuck: bool = False
    """It takes for ever."""

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        self.kept[kind, id] = text

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        if self.away:
            raise Refused(Reason.STORE_UNAVAILABLE, "away")
        if self.stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        text = change(self.kept.pop((kind, id), None))
        if text is not None:
            self.kept[kind, id] = text
        return text

    async def load_records(self) -> list[SharedRecord]:
        return [SharedRecord(kind, id, text) for (kind, id), text in self.kept.items()]

    async def changed_records(self) -> list[SharedRecord]:
        return await self.load_records()


class Bench:
    """A gateway's board, and requests of its agents."""

    def __init__(self, records: FakeRecords | None = None, hold_wait_seconds: float = 5.0) -> None:
        self.records = records or FakeRecords()
        self.recorded: list[ControlRecord] = []
        self.board = ControlBoard(self.records, self.recorded.append, FakeClock(), hold_wait_seconds=hold_wait_seconds)
        self.requests = 0

    async def say(self, action: Action, target: str) -> ControlRecord:
        return await self.board.change(Order(action, target, "olga", "runaway"))

    async def hear(self) -> None:
        self.board.learn(await self.records.changed_records())

    def request(self, session: str = "s", agent: str = "main", user: str = "alice", **asked: Any) -> RequestContext:
        self.requests += 1
        ctx = RequestContext(f"dec_{self.requests}", "POST", "/v1/messages", {}, "anthropic", 0, 0.0)
        ctx.principal = Principal(org="acme", team="platform", user=user, credential="laptop")
        node = SessionNode(session, "laptop", user, "", inferred=False)
        ctx.agent = AgentNode(node, agent, None, 0, 0, 0)
        ctx.lineage = Lineage(session=session, agent=agent, run="wf_1")
        ctx.ask = peek(request_body(**asked))
        return ctx

    def start(self, ctx: RequestContext, work: "Callable[[], Awaitable[Any]] | None" = None) -> "asyncio.Future[Any]":
        """Serve a request: wait until it is free, then do its work, which by default has no end."""

        async def served() -> Any:
            with self.board.flight(ctx):
                await self.board.require_free(ctx)
                return await (work or asyncio.Event().wait)()

        return asyncio.ensure_future(served())


async def rounds(count: int = 5) -> None:
    """Let what can run go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def refusal(task: "asyncio.Future[Any]") -> Refused:
    with pytest.raises(Refused) as raised:
        await asyncio.wait_for(task, 30)
    return raised.value


TARGETS = ["org", "team:platform", "user:alice", "session:s", "run:wf_1", "agent:s/main"]
ELSEWHERE = ["team:other", "user:bob", "session:t", "run:wf_2", "agent:s/a", "agent:t/main"]


@pytest.mark.parametrize("target", TARGETS)
async def test_stopped_target_gets_no_new_request(target: str) -> None:
    bench = Bench()
    await bench.say("stop", target)
    error = await refusal(bench.start(bench.request()))
    assert error.reason is Reason.STOPPED and error.headers == {}
    assert "by olga (runaway)" in error.message and "ringfence sessions release" in error.message
    assert bench.recorded[0].target == target and bench.board.in_flight(target) == 0


@pytest.mark.parametrize("target", TARGETS)
async def test_stop_interrupts_what_is_under_way(target: str) -> None:
    bench = Bench()
    task = bench.start(bench.request())
    await rounds()
    assert bench.board.in_flight(target) == 1
    await bench.say("stop", target)
    assert (await refusal(task)).reason is Reason.STOPPED
    assert bench.board.in_flight(target) == 0


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("action", ["stop", "hold"])
async def test_control_of_another_target_is_not_felt(target: str, action: Action) -> None:
    bench = Bench()
    before, go = bench.request(), asyncio.Event()
    first = bench.start(before, go.wait)
    await rounds()
    await bench.say(action, target)
    second = bench.start(bench.request(), go.wait)
    await rounds()
    assert not bench.board.is_held(before)
    go.set()
    assert await asyncio.gather(first, second) == [True, True]


async def test_held_request_waits_until_it_is_released() -> None:
    bench = Bench()
    await bench.say("hold", "user:alice")
    task = bench.start(bench.request(), lambda: asyncio.sleep(0, "done"))
    await rounds()
    assert not task.done()
    await bench.say("release", "user:alice")
    assert await task == "done"


async def test_request_held_twice_waits_for_both() -> None:
    bench = Bench()
    await bench.say("hold", "user:alice")
    await bench.say("hold", "session:s")
    task = bench.start(bench.request(), lambda: asyncio.sleep(0, "done"))
    await rounds()
    await bench.say("release", "session:s")
    await rounds()
    assert not task.done()
    await bench.say("release", "user:alice")
    assert await task == "done"


async def test_request_held_too_long_is_told_to_come_again() -> None:
    bench = Bench(hold_wait_seconds=0.01)
    await bench.say("hold", "org")
    error = await refusal(bench.start(bench.request()))
    assert (error.reason, error.headers) == (Reason.HELD, {"retry-after": "30"})
    assert "everything was held by olga" in error.message


async def test_held_request_of_a_run_is_told_at_once_since_its_agent_takes_silence_for_a_fault() -> None:
    bench = Bench(hold_wait_seconds=3_600.0)
    await bench.say("hold", "run:wf_1")
    ctx = bench.request()
    ctx.bearer_run = "wf_1"
    error = await refusal(bench.start(ctx))
    assert (error.reason, error.headers) == (Reason.HELD, {"retry-after": "30"})


async def test_stop_ends_the_wait_of_a_held_request() -> None:
    bench = Bench()
    await bench.say("hold", "session:s")
    task = bench.start(bench.request())
    await rounds()
    await bench.say("stop", "org")
    assert (await refusal(task)).message.startswith("everything was stopped")


async def test_client_that_leaves_while_it_is_held_is_not_called_stopped() -> None:
    bench = Bench()
    await bench.say("hold", "session:s")
    task = bench.start(bench.request())
    await rounds()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.board.in_flight("session:s") == 0


async def test_client_that_leaves_as_it_is_stopped_has_left() -> None:
    bench = Bench()
    task = bench.start(bench.request())
    await rounds()
    task.cancel()
    await bench.say("stop", "session:s")
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_task_goes_on_after_a_stop_that_it_absorbed() -> None:
    bench = Bench()
    ctx = bench.request()

    async def work() -> tuple[Refused | None, Refused | None]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            first = bench.board.absorb(ctx)
            await asyncio.sleep(0)
            return first, bench.board.absorb(ctx)
        raise AssertionError

    task = bench.start(ctx, work)
    await rounds()
    await bench.say("stop", "session:s")
    first, second = await task
    assert first is not None and (first.reason, second) == (Reason.STOPPED, None)


async def test_failure_in_the_wake_of_a_stop_is_told_as_it_is() -> None:
    bench = Bench()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("could not be closed")

    task = bench.start(bench.request(), work)
    await rounds()
    await bench.say("stop", "session:s")
    with pytest.raises(ValueError, match="closed"):
        await task


async def test_stop_that_is_released_at_once_has_ended_what_was_under_way() -> None:
    bench = Bench()
    task = bench.start(bench.request())
    await rounds()
    stop, release = bench.say("stop", "session:s"), bench.say("release", "session:s")
    await asyncio.gather(stop, release)
    assert (await refusal(task)).reason is Reason.STOPPED
    assert await bench.start(bench.request(), lambda: asyncio.sleep(0, "free")) == "free"


async def test_only_a_held_stream_waits_for_ever_once_it_is_answered() -> None:
    bench = Bench(hold_wait_seconds=0.01)
    stream, whole = bench.request(stream=True), bench.request(stream=False)
    streamed = bench.start(stream, lambda: bench.board.clear(stream))
    await streamed  # nothing stood
    tasks = {}
    go = asyncio.Event()

    async def answered(ctx: RequestContext) -> str:
        await go.wait()
        await bench.board.clear(ctx)
        return "passed"

    for ctx in (stream, whole):
        tasks[ctx.id] = bench.start(ctx, lambda ctx=ctx: answered(ctx))
    await rounds()
    await bench.say("hold", "org")
    go.set()
    assert (await refusal(tasks[whole.id])).reason is Reason.HELD
    assert bench.board.is_held(stream) and not tasks[stream.id].done()
    await bench.say("release", "org")
    assert await tasks[stream.id] == "passed"


async def test_request_without_a_flight_is_let_through_or_refused_as_well() -> None:
    bench = Bench()
    await bench.board.require_free(bench.request())
    await bench.say("stop", "session:s")
    with pytest.raises(Refused, match="stopped"):
        await bench.board.require_free(bench.request())
    await bench.board.require_free(bench.request(session="t"))


@pytest.mark.parametrize("action", ["stop", "hold"])
async def test_another_gateway_feels_it_with_its_next_look(action: Action) -> None:
    records = FakeRecords()
    here, there = Bench(records), Bench(records)
    ctx = there.request()
    task = there.start(ctx)
    await rounds()
    await here.say(action, "session:s")
    assert not there.board.is_held(ctx)
    await there.hear()
    assert there.board.is_held(ctx) and there.recorded == []
    if action == "stop":
        assert (await refusal(task)).reason is Reason.STOPPED
    await here.say("release", "session:s")
    await there.hear()
    assert there.board.standing() == [] and await there.start(there.request(), lambda: asyncio.sleep(0, 1)) == 1
    task.cancel()


async def test_control_stands_after_a_restart() -> None:
    records = FakeRecords()
    await Bench(records).say("stop", "user:alice")
    again = Bench(records)
    again.board.learn(await records.load_records())
    assert (await refusal(again.start(again.request()))).reason is Reason.STOPPED
    assert await again.start(again.request(user="bob"), lambda: asyncio.sleep(0, 1)) == 1


async def test_word_read_before_a_release_does_not_bring_the_stop_back() -> None:
    records = FakeRecords()
    here, there = Bench(records), Bench(records)
    await there.say("stop", "session:s")
    read = await records.changed_records()
    await here.say("release", "session:s")
    here.board.learn(read)
    assert here.board.standing() == []


async def test_record_that_is_removed_frees_its_target() -> None:
    bench = Bench()
    await bench.say("hold", "session:s")
    task = bench.start(bench.request(), lambda: asyncio.sleep(0, "done"))
    await rounds()
    bench.board.learn([SharedRecord("control", "session:s", None)])
    assert await task == "done" and bench.board.standing() == []


async def test_records_of_others_and_unreadable_ones_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    await bench.say("stop", "session:s")
    text = bench.records.kept["control", "session:s"]
    rows = [SharedRecord("fuse", "org", text), SharedRecord("control", "org", b"{"), SharedRecord("control", "x", text)]
    bench.board.learn(rows)
    assert [record.target for record in bench.board.standing()] == ["session:s"]
    assert "the control of org cannot be read" in caplog.text


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("action", ["stop", "hold"])
async def test_control_holds_here_though_the_store_does_not_take_it(action: Action, stuck: bool) -> None:
    bench = Bench()
    ctx = bench.request()
    task = bench.start(ctx)
    await rounds()
    bench.records.away, bench.records.stuck = not stuck, stuck
    record = await bench.say(action, "session:s")
    assert bench.board.is_held(ctx) and (record.serial, bench.recorded) == (1, [record])
    bench.records.away, bench.records.stuck = True, False
    await bench.board.keep()
    assert bench.records.kept == {}
    bench.records.away = False
    await bench.board.keep()
    assert bench.records.kept.keys() == {("control", "session:s")} and bench.board.standing() == [record]
    task.cancel()


@pytest.mark.parametrize("turn", [1, -1])
async def test_two_that_speak_while_the_store_is_away_come_to_the_stricter_word(turn: int) -> None:
    records = FakeRecords(away=True)
    both = [Bench(records), Bench(records)]
    await both[0].say("stop", "session:s")
    await both[1].say("hold", "session:s")
    records.away = False
    for bench in both[::turn]:
        await bench.board.keep()
    for bench in both:
        await bench.hear()
    assert [[record.state for record in bench.board.standing()] for bench in both] == [["stopped"]] * 2
    await both[1].say("release", "session:s")
    await both[0].hear()
    assert both[0].board.standing() == []


async def test_stop_that_was_said_in_vain_follows_what_another_said_meanwhile() -> None:
    """The store was away for one gateway only: what the other one wrote is newer than what this one knows."""
    records = FakeRecords()
    here, there = Bench(records), Bench(records)
    records.away = True
    await here.say("stop", "session:s")
    records.away = False
    for action in ("hold", "release", "hold", "release"):
        await there.say(action, "session:s")
    await here.hear()
    assert [record.state for record in here.board.standing()] == ["stopped"]
    await here.board.keep()
    await there.hear()
    assert here.board.standing() == there.board.standing() and [each.serial for each in there.board.standing()] == [5]


async def test_release_that_cannot_be_kept_is_refused() -> None:
    bench = Bench()
    await bench.say("stop", "session:s")
    bench.records.away = True
    with pytest.raises(Refused, match="away"):
        await bench.say("release", "session:s")
    assert len(bench.board.standing()) == 1 and len(bench.recorded) == 1


async def test_order_that_cannot_follow_is_refused_and_not_recorded() -> None:
    bench = Bench()
    with pytest.raises(ControlRefused, match="neither stopped nor held"):
        await bench.say("release", "session:s")
    await bench.say("stop", "session:s")
    with pytest.raises(ControlRefused, match="release it first"):
        await bench.say("hold", "session:s")
    assert [record.state for record in bench.recorded] == ["stopped"]


async def test_two_gateways_that_speak_at_once_get_one_order() -> None:
    records = FakeRecords()
    here, there = Bench(records), Bench(records)
    await here.say("hold", "session:s")
    await there.hear()
    await asyncio.gather(here.say("stop", "session:s"), there.say("release", "session:s"))
    await here.hear()
    await there.hear()
    assert here.board.standing() == there.board.standing()
    assert [record.serial for record in (*here.recorded, *there.recorded)] == [1, 2, 3]


async def test_targets_released_long_ago_leave_the_store() -> None:
    bench = Bench()
    for number in range(controls.RELEASED_MAX + 2):
        await bench.say("hold", f"session:{number}")
        await bench.say("release", f"session:{number}")
    assert len(bench.records.kept) == controls.RELEASED_MAX
    assert ("control", "session:1") not in bench.records.kept


async def test_nothing_is_kept_of_requests_that_have_ended() -> None:
    bench = Bench()
    tasks = [bench.start(bench.request(f"s{number % 3}", f"a{number}")) for number in range(20)]
    await rounds()
    assert bench.board.in_flight("org") == 20 and bench.board.in_flight("session:s1") == 7
    await bench.say("stop", "org")
    assert {(await refusal(task)).reason for task in tasks} == {Reason.STOPPED}
    assert bench.board.in_flight("org") == bench.board.in_flight("session:s1") == 0
