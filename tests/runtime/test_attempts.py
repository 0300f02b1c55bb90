"""Agents of a run: admitted, in turn at their upstream, frozen and told things, and every end of an attempt is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.attempts import Attempts, Crew, Places
from runtime.check import prepare
from runtime.core import happenings as on
from runtime.core.calls import Call
from runtime.core.governor import Governor
from runtime.core.journal import IssuedLine
from runtime.core.model import AgentId, CallIndex, CallOptions, Finished, Scope
from runtime.core.views.view import View
from runtime.launch import Settings, build_spec
from runtime.ports import AgentTask, Limited, Verdict, Watch
from tests.runtime.driving import USAGE, Doorkeeper, Ear, launch
from tests.support.clock import FakeClock

UPSTREAM = "claude-sonnet-5-5"
DONE = Finished(value=None, null="empty")
Work = Callable[[AgentTask, Watch], Awaitable[Finished]]


@dataclass
class Works:
    """Implements `ports.Agents` by a function."""

    work: Work

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        return await self.work(task, watch)


@dataclass
class Bench:
    """The crew of one run."""

    work: Work
    governor: Governor = field(default_factory=lambda: Governor(2))
    clock: FakeClock = field(default_factory=FakeClock)
    admission: Doorkeeper = field(default_factory=Doorkeeper)
    ear: Ear = field(default_factory=Ear)
    told: list[on.Event] = field(default_factory=list[on.Event])
    crew: Crew = field(init=False)
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        asked = launch("return 1")
        spec = build_spec(
            asked, prepare(asked.script or ""), Settings(model=UPSTREAM), now_ms=self.clock.now_ms, script_path=None
        )
        self.places = Places(self.governor, self.clock)
        ground = Attempts(agents=Works(self.work), admission=self.admission, places=self.places, listener=self.ear)
        self.crew = ground.crew(spec, self.told.append, View(spec))

    def begin(self, index: int = 0, **options: Any) -> asyncio.Task[None]:
        """One attempt."""
        prompt, chosen = f"look {index}", CallOptions(**options)
        call = Call(CallIndex(index), index, "key", Scope(""), prompt, chosen)
        self.crew.view.feed(
            IssuedLine(
                at_ms=0, id=index, index=call.index, key=call.key, scope=call.scope, prompt=prompt, options=chosen
            )
        )
        return asyncio.get_running_loop().create_task(self.crew.work(call, 1, AgentId(f"a{index}")))

    def ends(self) -> list[Finished]:
        """Of attempts."""
        return [event.finished for event in self.told if isinstance(event, on.AttemptEnded)]


async def turns(times: int = 5) -> None:
    """Let everybody go on as far as they can."""
    for _ in range(times):
        await asyncio.sleep(0)


async def one_request(task: AgentTask, watch: Watch) -> Finished:
    await watch.before_request()
    watch.began()
    watch.used(USAGE)
    return DONE


async def test_attempt_tells_its_first_byte_its_usage_and_its_end() -> None:
    bench = Bench(one_request)
    await bench.begin()
    assert [type(event) for event in bench.told] == [on.FirstByteSeen, on.RequestAnswered, on.AttemptEnded]
    assert bench.ends() == [DONE] and bench.admission.ended == ["a0"]


async def test_agent_that_is_not_admitted_never_begins() -> None:
    begun: list[str] = []

    async def work(task: AgentTask, watch: Watch) -> Finished:
        begun.append(task.prompt)
        return DONE

    bench = Bench(work, admission=Doorkeeper(spawn=Verdict(False, "spawn/too_many: no")))
    await bench.begin()
    assert begun == [] and bench.admission.ended == []
    assert [(each.null, each.detail) for each in bench.ends()] == [("permission", "spawn/too_many: no")]


async def test_fault_of_one_agent_ends_that_agent_without_its_words() -> None:
    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        raise ValueError("rf_secret")

    bench = Bench(work)
    await bench.begin()
    assert [(each.null, each.detail) for each in bench.ends()] == [("api_error", "the agent broke off: ValueError")]
    assert bench.governor.enter(UPSTREAM, 0.0) and bench.governor.enter(UPSTREAM, 0.0)


async def test_w96_requests_wait_for_a_place_in_their_order() -> None:
    gate, began = asyncio.Event(), list[str]()

    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        began.append(task.prompt)
        await gate.wait()
        return DONE

    bench = Bench(work)
    tasks = [bench.begin(index) for index in range(4)]
    await turns()
    assert began == ["look 0", "look 1"]
    gate.set()
    await asyncio.gather(*tasks)
    assert began == [f"look {index}" for index in range(4)]


async def test_w96_agent_that_is_cancelled_in_the_queue_leaves_its_place_to_the_next() -> None:
    gate = asyncio.Event()

    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        await gate.wait()
        return DONE

    bench = Bench(work, governor=Governor(1))
    first, second, third = bench.begin(0), bench.begin(1), bench.begin(2)
    await turns()
    second.cancel()
    await turns()
    gate.set()
    await asyncio.gather(first, third)
    assert second.cancelled() and len(bench.ends()) == 2
    assert bench.governor.enter(UPSTREAM, 0.0)


async def test_w96_cancelled_at_the_moment_of_its_turn_gives_the_place_back() -> None:
    places = Places(governor := Governor(1), FakeClock())
    await places.enter("u")
    waiting = asyncio.get_running_loop().create_task(places.enter("u"))
    await turns()
    places.leave("u")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert governor.enter("u", 0.0)


async def test_w96_burst_lowers_what_may_be_open_and_is_told_once() -> None:
    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        await watch.limited(Limited("throttled", "429"))
        await watch.limited(Limited("throttled", "429"))
        return DONE

    bench = Bench(work, governor=Governor(64))
    await bench.begin()
    noticed = [event for event in bench.told if isinstance(event, on.Noticed)]
    assert [event.code for event in noticed] == ["concurrency_changed"]
    assert bench.ear.limits == [(UPSTREAM, 1)] and bench.places.allowed() == {UPSTREAM: 1}


async def test_w96_place_that_has_recovered_is_given_to_who_waits() -> None:
    clock = FakeClock()
    places = Places(Governor(2), clock)
    await places.enter("u")
    places.burst("u")
    waiting = asyncio.get_running_loop().create_task(places.enter("u"))
    await turns()
    places.grant()
    await turns()
    assert not waiting.done()
    clock.advance(61)
    places.grant()
    await waiting


async def test_w129_frozen_agent_asks_nothing_until_it_is_thawed() -> None:
    bench = Bench(one_request)
    bench.crew.freeze(True)
    task = bench.begin()
    await turns()
    assert bench.told == []
    bench.crew.freeze(False)
    await task
    assert bench.ends() == [DONE]


async def test_w126_limit_of_an_account_pauses_the_run_and_the_agent_waits_with_it() -> None:
    went_on: list[int] = []

    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        await watch.limited(Limited("quota", "weekly limit", until_ms=5_000))
        went_on.append(task.index)
        return DONE

    bench = Bench(work)
    task = bench.begin()
    await turns()
    assert bench.told == [on.PauseAsked("quota", until_ms=5_000, message="weekly limit")] and went_on == []
    bench.crew.freeze(False)
    await task
    assert went_on == [0]


async def test_w126_who_waits_for_a_limit_holds_no_place() -> None:
    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        if task.index == 0:
            await watch.limited(Limited("quota", "weekly limit"))
        return DONE

    bench = Bench(work, governor=Governor(1))
    task = bench.begin(0)
    await turns()
    assert bench.governor.enter(UPSTREAM, 0.0)
    bench.governor.leave(UPSTREAM)
    bench.crew.freeze(False)
    await task


async def test_w136_message_is_heard_once_before_the_next_request() -> None:
    heard: list[list[str]] = []

    async def work(task: AgentTask, watch: Watch) -> Finished:
        heard.extend([list(await watch.before_request()), list(await watch.before_request())])
        return DONE

    bench = Bench(work)
    bench.crew.say(CallIndex(0), "look at b too")
    bench.crew.say(CallIndex(1), "for another")
    await bench.begin(0)
    assert heard == [["look at b too"], []]


async def test_bearer_is_opened_with_the_first_agent_and_closed_with_the_run() -> None:
    bench = Bench(one_request)
    bench.crew.close()
    assert bench.admission.opened == bench.admission.closed == []
    await asyncio.gather(bench.begin(0), bench.begin(1))
    bench.crew.close()
    bench.crew.close()
    assert len(bench.admission.opened) == 1 and bench.admission.closed == [bench.crew.spec.id]


async def test_w118_place_that_comes_after_the_run_was_frozen_is_not_used() -> None:
    asked: list[int] = []

    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        asked.append(task.index)
        if task.index == 0:
            await gate.wait()
        watch.used(USAGE)
        return DONE

    gate, bench = asyncio.Event(), Bench(work, governor=Governor(1))
    tasks = [bench.begin(index) for index in range(2)]
    await turns()
    bench.crew.freeze(True)
    gate.set()
    await tasks[0]
    await turns()
    assert asked == [0] and bench.governor.enter(UPSTREAM, 0.0)
    bench.governor.leave(UPSTREAM)
    bench.crew.freeze(False)
    await tasks[1]
    assert asked == [0, 1]


async def test_w118_run_that_is_frozen_while_it_is_confirmed_asks_nothing() -> None:
    bench = Bench(one_request)

    async def confirm() -> None:
        if not bench.told:
            bench.crew.freeze(True)
            bench.told.append(on.Ticked())

    bench.crew.confirm = confirm
    task = bench.begin()
    await turns()
    assert bench.told == [on.Ticked()] and bench.governor.enter(UPSTREAM, 0.0)
    bench.governor.leave(UPSTREAM)
    bench.crew.freeze(False)
    await task
    assert bench.ends() == [DONE]


async def test_agent_that_a_person_holds_gives_its_place_back_and_pauses_nothing() -> None:
    async def work(task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        await watch.limited(Limited("held", "agent a is held by olga"))
        return DONE

    bench = Bench(work, governor=Governor(1))
    await bench.begin()
    assert [type(event) for event in bench.told] == [on.AttemptEnded]
    assert bench.ear.limits == [] and bench.places.allowed() == {UPSTREAM: 1}
