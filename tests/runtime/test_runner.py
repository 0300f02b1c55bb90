"""One run at work: what follows is durable before it happens, and every end of it gives back what it held."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from runtime.core import happenings as on
from runtime.core.journal import EndedLine, ErrorLine, ResultLine, StateLine, decode_line
from runtime.core.model import CallIndex, Finished, RunId, Thrown
from runtime.core.transitions import Illegal
from runtime.ports import AgentTask, Entry, Lease, LeaseLost, StoreAway
from runtime.stores import MemoryRunStore
from tests.runtime.driving import ALICE, Site, driving, script

LOOK = "return await agent('look')"
FAN = "return await parallel([1, 2, 3].map(i => () => agent(`look ${i}`)))"


class WatchedStore(MemoryRunStore):
    """A store in memory that can be away, or kept waiting, and tells what was durable when."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def append(self, lease: Lease, entry: Entry) -> None:
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreAway("the disk is full")
        await super().append(lease, entry)

    async def kinds(self, run: RunId) -> Sequence[str]:
        """Types of the lines that are durable."""
        return [type(decode_line(text)).__name__.removesuffix("Line") for _, text in await self.lines(run)]


async def turns(times: int = 20) -> None:
    """Let everybody go on as far as they can."""
    for _ in range(times):
        await asyncio.sleep(0)


async def gone(site: Site, run: RunId) -> None:
    """It is driven here no more."""
    while run in site.runs.driven:
        await asyncio.sleep(0)


async def test_w151_agent_starts_only_when_its_line_is_durable() -> None:
    store = WatchedStore()
    async with driving(store=store) as site:
        store.gate = asyncio.Event()
        run = await site.start(LOOK)
        await store.waiting.wait()
        await turns()
        assert site.cast.asked == [] and "Started" not in await store.kinds(run)
        store.gate.set()
        assert await site.value(run) == "re look"


async def test_w151_result_is_durable_before_the_script_goes_on() -> None:
    seen: list[Sequence[str]] = []
    store = WatchedStore()

    async def note(run: RunId) -> None:
        seen.append(await store.kinds(run))

    def say(task: AgentTask) -> str:
        if task.prompt == "second":
            notes.append(asyncio.get_running_loop().create_task(note(task.run.id)))
        return "done"

    notes: list[asyncio.Task[None]] = []
    async with driving(say, store=store) as site:
        await site.outcome("await agent('first'); return await agent('second')")
        await asyncio.gather(*notes)
    assert seen[0].count("Result") >= 1 and seen[0].index("Result") < len(seen[0]) - 1


async def test_store_that_is_away_holds_the_run_up_and_loses_nothing() -> None:
    store = WatchedStore()
    async with driving(store=store) as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        store.failures = 1
        site.cast.hold("look").set()
        assert await site.value(run) == "re look"
        assert (await store.kinds(run)).count("Result") == 1


async def test_change_is_answered_when_it_is_durable_and_not_before() -> None:
    store = WatchedStore()
    async with driving(store=store) as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        store.gate = asyncio.Event()
        asked = site.tasks.spawn("pause", site.desk.change(ALICE, run, "pause"))
        await turns()
        assert not asked.done() and "paused" not in str(await store.lines(run))
        store.gate.set()
        assert (await asked)["state"] == "paused"


async def test_w121_change_that_is_not_allowed_is_refused_to_whoever_asked() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        runner = site.runs.driven[run]
        with pytest.raises(Illegal):
            await runner.ask(on.ResumeAsked("alice"))
        with pytest.raises(Illegal):
            await runner.ask(on.AgentRestartAsked(index_of(7), "alice"))
        assert runner.machine.state == "running"


def index_of(number: int) -> Any:
    """Of a call."""
    return number


async def test_run_that_went_to_another_process_ends_its_agents_and_writes_nothing() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        runner, before = site.runs.driven[run], len(await site.lines(run))
        await site.store.release(runner.lease)
        assert await site.store.acquire(run, "process b", site.clock.now_ms, ttl_ms=1_000) is not None
        with pytest.raises(LeaseLost):
            await runner.ask(on.PauseAsked("person", by="alice"))
        await gone(site, run)
        assert len(await site.lines(run)) == before and site.admission.closed == [run]
        assert site.ear.left == [run] and site.admission.ended != []


async def test_asked_after_it_was_let_go_a_run_refuses() -> None:
    async with driving() as site:
        run = await site.start(LOOK)
        runner = site.runs.driven[run]
        await site.ended(run)
        await gone(site, run)
        with pytest.raises(LeaseLost):
            await runner.ask(on.StopAsked("alice"))


async def test_w102_script_that_breaks_its_sandbox_fails_its_run_alone() -> None:
    async with driving() as site:
        site.cast.hold("look")
        other = await site.start(LOOK)
        run = await site.start("const all = []; for (;;) all.push('x'.repeat(1e6) + all.length)")
        record = await site.ended(run)
        assert (record["state"], record["failure"]["detail"]) == ("failed", "script_out_of_memory")
        assert site.ear.failed == ["script_out_of_memory"]
        site.cast.hold("look").set()
        assert await site.value(other) == "re look"


async def test_w131_stopped_run_ends_its_agents_and_none_counts_as_failed() -> None:
    async with driving() as site:
        site.cast.hold("look 1")
        run = await site.start(FAN)
        await site.until(run, lambda record: record["agents"].get("done") == 2)
        await site.desk.change(ALICE, run, "stop")
        record = await site.ended(run)
        await gone(site, run)
        assert record["state"] == "stopped" and record["outcome"]["stopped"] == 1 and record["outcome"]["null"] == 0
        assert len(site.admission.ended) == 3 and site.admission.closed == [run]


async def test_w122_each_end_is_told_exactly_once() -> None:
    async with driving() as site:
        run = await site.start(FAN)
        await site.ended(run)
        assert site.ear.states[-1] == ("running", "completed")
        assert sum(after == "completed" for _, after in site.ear.states) == 1
        assert sum(isinstance(line, EndedLine) for line in await site.lines(run)) == 1


async def test_ends_of_calls_are_told_by_what_they_gave() -> None:
    ends: dict[str, Any] = {
        "null": Finished(null="empty"),
        "throws": Finished(thrown=Thrown(code="limit", message="too much")),
    }
    async with driving(lambda task: ends.get(task.prompt, "value")) as site:
        await site.outcome("return await parallel(['null', 'throws', 'good'].map(p => () => agent(p)))")
        assert sorted(site.ear.settled) == ["done", "null", "threw"]


async def test_w128_stop_goes_past_catch_and_finally() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(
            "try { await agent('look') } catch { await agent('caught') } finally { await agent('at last') }"
        )
        await site.cast.until_asked("look")
        await site.desk.change(ALICE, run, "stop")
        await gone(site, run)
        assert site.cast.prompts() == ["look"]


async def test_timer_fires_and_the_script_goes_on() -> None:
    async with driving() as site:
        body = "await new Promise(done => setTimeout(done, 5)); return await agent('look')"
        assert await site.outcome(body) == "re look"


async def test_w134_end_of_an_attempt_that_was_replaced_changes_nothing() -> None:
    async with driving() as site:
        gate = site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        await site.desk.change_agent(ALICE, run, 0, "restart")
        await site.cast.until_asked("look", 2)
        site.runs.driven[run].tell(on.AttemptEnded(index_of(0), 1, Finished(null="stalled")))
        gate.set()
        assert await site.value(run) == "re look"
        ends = [line for line in await site.lines(run) if isinstance(line, ResultLine | ErrorLine)]
        assert len(ends) == 1 and isinstance(ends[0], ResultLine)


async def test_list_shows_what_happened_since_the_last_change_of_state_after_a_moment() -> None:
    async with driving() as site:
        site.cast.hold("look 1")
        run = await site.start(FAN)
        await site.until(run, lambda record: record["agents"].get("done") == 2)
        site.clock.advance(1)
        await site.runs.refresh()
        while b'"done":2' not in bytes((await site.runs.find(run)).record):
            await asyncio.sleep(0)
        assert (await site.runs.find(run)).state == "running"


async def test_w127_run_that_is_handed_over_says_why_in_its_journal() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        await site.runs.close()
        last = [line for line in await site.lines(run) if isinstance(line, StateLine)][-1]
        assert (last.before, last.after, last.reason) == ("running", "paused", "host_restart")
        assert [row.id for row in await site.store.abandoned(site.clock.now_ms)] == [run]


async def test_w147_script_has_nobody_to_ask() -> None:
    async with driving() as site:
        asking = "['checkpoint', 'prompt', 'confirm', 'alert', 'ask', 'input', 'approve', 'readline']"
        assert await site.outcome(f"return {asking}.filter(name => name in globalThis)") == []


class BrokenStore(MemoryRunStore):
    """Cannot tell of any script."""

    async def saved_script(self, owner: str, name: str) -> str | None:
        raise ValueError(name)


async def test_w110_script_is_answered_whatever_goes_wrong_when_its_workflow_is_looked_for() -> None:
    async with driving(store=BrokenStore()) as site:
        body = "try { await workflow('child') } catch (error) { return error.message }"
        assert await site.outcome(body) == "workflow(): it cannot be looked for here"


class ForgetfulStore(MemoryRunStore):
    """Is away when it is first asked for a script."""

    asked = 0

    async def saved_script(self, owner: str, name: str) -> str | None:
        self.asked += 1
        if self.asked == 1:
            raise StoreAway("the disk is full")
        return await super().saved_script(owner, name)


async def test_w110_store_that_is_away_is_no_missing_workflow() -> None:
    async with driving(store=ForgetfulStore()) as site:
        await site.store.save_script("alice", "child", script("return 'found'"), replace=True, now_ms=0)
        assert await site.outcome("return await workflow('child')") == "found"


async def test_w182_everybody_who_follows_is_shown_the_same_snapshot() -> None:
    async with driving() as site:
        run = await site.start(LOOK)
        runner = site.runs.driven[run]
        assert runner.snapshot() is runner.snapshot()
        await gone(site, run)


async def test_result_that_came_with_what_cannot_be_taken_in_is_kept() -> None:
    async with driving() as site:
        door = site.cast.hold("wait")
        run = await site.start("await agent('wait'); return 1")
        await site.cast.until_asked("wait")
        runner = site.runs.driven[run]
        runner.tell(on.TimerFired)  # type: ignore[arg-type]  # no event at all
        runner.tell(on.AttemptEnded(CallIndex(0), 1, Finished(value=msgspec.Raw(b"1"))))
        door.set()
        await gone(site, run)
        lines = await site.lines(run)
        assert [line.value for line in lines if isinstance(line, ResultLine)] == [msgspec.Raw(b"1")]
        assert isinstance(lines[-1], EndedLine) and lines[-1].state == "failed"


async def test_run_that_cannot_take_in_what_happened_fails_instead_of_coming_again() -> None:
    async with driving() as site:
        run = await site.start("await agent('wait'); return 1")
        site.runs.driven[run].tell(on.TimerFired)  # type: ignore[arg-type]  # no event at all
        await gone(site, run)
        last = decode_line((await site.runs.ground.store.lines(run))[-1][1])
        assert isinstance(last, EndedLine) and last.failure is not None
        assert (last.state, last.failure.detail) == ("failed", "protocol")
