"""The agents of runs at work: each attempt is admitted, waits for its turn, and tells its run how it goes.

What an agent does is `agents/`; what follows from how it ends is `core/settling.py`. Model requests of all runs to one
upstream share the places that the governor gives them (W96).
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from runtime.core import happenings as on
from runtime.core.calls import Call
from runtime.core.display import label_of
from runtime.core.governor import Governor
from runtime.core.model import AgentId, CallIndex, Finished, RunSpec, Usage
from runtime.core.views.view import View
from runtime.ports import Admission, Agents, AgentTask, Clock, Limited, Listener

Tell = Callable[[on.Event], None]

STOPPED_NULLS = frozenset({"stopped", "permission"})
"""How attempts end when a person has stopped what their run belongs to: then the run is over too."""
Confirm = Callable[[], Awaitable[None]]
"""Returns once it is sure that no other process drives the run."""

_log = logging.getLogger(__name__)


class Places:
    """Who may ask an upstream now, in order of arrival."""

    def __init__(self, governor: Governor, clock: Clock) -> None:
        self._governor = governor
        self._clock = clock
        self._queues: defaultdict[str, deque[asyncio.Future[None]]] = defaultdict(deque)

    async def enter(self, upstream: str) -> None:
        """Wait for a place and take it."""
        queue = self._queues[upstream]
        if not queue and self._governor.enter(upstream, self._clock.monotonic()):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                queue.remove(turn)
            else:
                self.leave(upstream)
            raise

    def leave(self, upstream: str) -> None:
        """Give the place back."""
        self._governor.leave(upstream)
        self._grant(upstream)

    def burst(self, upstream: str) -> int | None:
        """It refuses for now: the new limit, if it was lowered."""
        return self._governor.burst(upstream, self._clock.monotonic())

    def grant(self) -> None:
        """Called about once a second: what has recovered meanwhile takes more."""
        for upstream in list(self._queues):
            self._grant(upstream)
            if not self._queues[upstream]:
                del self._queues[upstream]

    def allowed(self) -> dict[str, int]:
        """At once, of every upstream."""
        return self._governor.gauges()

    def _grant(self, upstream: str) -> None:
        queue = self._queues[upstream]
        waiting = [turn for turn in queue if not turn.done()]
        for turn in waiting:
            if not self._governor.enter(upstream, self._clock.monotonic()):
                return
            queue.remove(turn)
            turn.set_result(None)


async def surely() -> None:
    """No other process can drive it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What every attempt of a process needs."""

    agents: Agents
    admission: Admission
    places: Places
    listener: Listener

    def crew(self, spec: RunSpec, tell: Tell, view: View, *, confirm: Confirm = surely) -> "Crew":
        """The agents of one run."""
        return Crew(self, spec, tell, view, confirm=confirm)


class Crew:
    """The agents of one run."""

    def __init__(self, ground: Attempts, spec: RunSpec, tell: Tell, view: View, *, confirm: Confirm) -> None:
        self.ground = ground
        self.spec = spec
        self.tell = tell
        self.view = view
        self.confirm = confirm
        self.thawed = asyncio.Event()
        """Agents may ask on."""
        self.thawed.set()
        self.room: object | None = None
        """What spending limits left when they last refused an agent."""
        self._messages: defaultdict[CallIndex, deque[str]] = defaultdict(deque)
        self._bearer: str | None = None

    async def work(self, call: Call, attempt: int, agent_id: AgentId) -> None:
        """One attempt, from its admission to its end."""
        task = AgentTask(
            run=self.spec,
            index=call.index,
            attempt=attempt,
            agent_id=agent_id,
            prompt=call.prompt,
            options=call.options,
            label=label_of(call.prompt, call.options),
            phase=call.phase,
            bearer=self._open_bearer(),
        )
        finished = await self._finish(task)
        by = self.ground.admission.stopped_by(self.spec) if finished.null in STOPPED_NULLS else None
        if by is not None:
            self.tell(on.StopAsked(by))
        self.tell(on.AttemptEnded(call.index, attempt, finished))

    def freeze(self, frozen: bool) -> None:
        """Agents wait before their next request, or go on."""
        if frozen:
            self.thawed.clear()
        else:
            self.thawed.set()

    def say(self, index: CallIndex, text: str) -> None:
        """For the next request of an agent."""
        self._messages[index].append(text)

    def heard(self, index: CallIndex) -> Sequence[str]:
        """What it has not heard yet."""
        return tuple(self._messages.pop(index, ()))

    def close(self) -> None:
        """The run asks nothing more."""
        if self._bearer is not None:
            self._bearer = None
            self.ground.admission.close_bearer(self.spec.id)

    def _open_bearer(self) -> str:
        if self._bearer is None:
            self._bearer = self.ground.admission.open_bearer(self.spec)
        return self._bearer

    async def _finish(self, task: AgentTask) -> Finished:
        verdict = await self.ground.admission.decide_spawn(task)
        if not verdict.allow:
            return Finished(null="permission", detail=verdict.message)
        watch = AgentWatch(self, task)
        try:
            return await self.ground.agents.attempt(task, watch)
        except Exception as error:  # noqa: BLE001  # one agent's fault ends that agent, not its run
            _log.exception("agent %s of run %s failed", task.agent_id, self.spec.id)
            return Finished(null="api_error", detail=f"the agent broke off: {type(error).__name__}")
        finally:
            watch.close()
            self.ground.admission.end_agent(task)


class AgentWatch:
    """Implements `ports.Watch` for one attempt."""

    def __init__(self, crew: Crew, task: AgentTask) -> None:
        self._crew = crew
        self._task = task
        self._upstream = crew.spec.model_of(task.options.model) or "default"
        self._has_place = False

    async def before_request(self) -> Sequence[str]:
        """Wait while the run is frozen, then for a place at the upstream, and until the run is surely driven here."""
        crew, is_free = self._crew, False
        while not is_free:
            self._leave()
            await crew.thawed.wait()
            await crew.ground.places.enter(self._upstream)
            self._has_place = True
            await crew.confirm()
            is_free = crew.thawed.is_set()  # it may have been frozen while this waited
        return crew.heard(self._task.index)

    def began(self) -> None:
        """The first byte is there."""
        self._crew.tell(on.FirstByteSeen(self._task.index, self._task.attempt))
        self._crew.view.began(self._task.index)

    def used(self, usage: Usage) -> None:
        """A request was answered."""
        self._leave()
        self._crew.tell(on.RequestAnswered(self._task.index, self._task.attempt, usage))
        self._crew.view.progressed(self._task.index, usage)

    def used_tool(self, name: str, title: str, *, failed: bool) -> None:
        """A tool ran."""
        self._crew.view.progressed(self._task.index, Usage(), f"{name} {title}".rstrip())

    def warn(self, code: str, message: str) -> None:
        """Something to tell of."""
        self._crew.tell(on.Noticed(code, message))

    async def limited(self, limit: Limited) -> None:
        """The run waits with the agent; in a burst, or while a person holds the agent, only its requests do."""
        self._leave()
        crew = self._crew
        if limit.kind == "throttled":
            allowed = crew.ground.places.burst(self._upstream)
            if allowed is not None:
                crew.ground.listener.governed(self._upstream, allowed)
                text = f"{self._upstream} refuses requests for now: {allowed} at once from here on"
                crew.tell(on.Noticed("concurrency_changed", text))
        elif limit.kind != "held":
            crew.thawed.clear()
            if limit.kind == "budget":
                crew.room = await crew.ground.admission.room(crew.spec)
            crew.tell(on.PauseAsked(limit.kind, until_ms=limit.until_ms, message=limit.message))
        await crew.thawed.wait()

    def close(self) -> None:
        """The attempt is over."""
        self._leave()

    def _leave(self) -> None:
        if self._has_place:
            self._has_place = False
            self._crew.ground.places.leave(self._upstream)
