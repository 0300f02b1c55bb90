"""A workflow script in Python, with the scopes and the job queue of the real sandbox, and a run of it in memory.

`Script` speaks the protocol of `runtime.core.program`; `play` answers it and writes the journal that a run would leave.
"""

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import msgspec

from runtime.core.branches import Batches
from runtime.core.journal import (
    ErrorLine,
    IssuedLine,
    Line,
    NestedLine,
    ResultLine,
    RunLine,
    StartedLine,
    StateLine,
    call_key,
)
from runtime.core.model import (
    AgentId,
    CallIndex,
    CallOptions,
    Owner,
    RunId,
    RunSpec,
    Scope,
    Tokens,
    Usage,
)
from runtime.core.program import (
    AgentOp,
    Delivery,
    Drained,
    GroupOp,
    Op,
    PhaseOp,
    Program,
    Returned,
    Threw,
    TimerOp,
    WorkflowOp,
)
from runtime.core.recorded import Recorded, fold_journal
from runtime.core.replay import Hit, Miss, Replay

Body = Callable[["Script"], Awaitable[Any]]


class Rejected(Exception):
    """What a promise was rejected with."""


class Promise:
    """Settled once; whoever waits goes on in a job of its own."""

    def __init__(self, script: "Script") -> None:
        self.script = script
        self.settled = False
        self.value: Any = None
        self.error: Exception | None = None
        self.waiting: list[Callable[[], None]] = []

    def settle(self, value: Any = None, error: Exception | None = None) -> None:
        self.settled, self.value, self.error = True, value, error
        self.script.jobs.extend(self.waiting)

    def then(self, job: Callable[[], None]) -> None:
        if self.settled:
            self.script.jobs.append(job)
        else:
            self.waiting.append(job)

    def __await__(self) -> Generator["Promise", None, Any]:
        yield self
        if self.error is not None:
            raise self.error
        return self.value


class Script:
    """One run of a body. `nested` are the bodies of workflows by name."""

    def __init__(self, body: Body, *, args: Any = None) -> None:
        self.jobs: deque[Callable[[], None]] = deque()
        self.ops: list[Op] = []
        self.args = args
        self.scope = ""
        self.bodies: dict[str, Body] = {}
        self._body = body
        self._ids = 0
        self._groups: dict[str, int] = {}
        self._workflows: dict[str, int] = {}
        self._open: dict[int, Promise] = {}
        self._children: dict[int, str] = {}
        self._end: Returned | Threw | None = None

    # What a body uses.

    def agent(self, prompt: str, **options: Any) -> Promise:
        return self._ask(lambda id: AgentOp(id=id, scope=self._here, prompt=prompt, options=CallOptions(**options)))

    def sleep(self, ms: int) -> Promise:
        return self._ask(lambda id: TimerOp(id=id, scope=self._here, ms=ms))

    def phase(self, title: str) -> None:
        self.ops.append(PhaseOp(title=title))

    def workflow(self, name: str) -> Promise:
        promise = self._ask(lambda id: WorkflowOp(id=id, scope=self._here, name=name))
        number = self._workflows.get(self.scope, 0)
        self._workflows[self.scope] = number + 1
        self._children[self._ids - 1] = f"{self.scope}/w{number}"
        return promise

    def parallel(self, thunks: Sequence[Callable[[], Awaitable[Any]]]) -> Promise:
        async def first(_: Any, item: Any, index: int) -> Any:
            return await item()

        return self.pipeline(thunks, first)

    def pipeline(self, items: Sequence[Any], *stages: Callable[[Any, Any, int], Awaitable[Any]]) -> Promise:
        parent, done = self.scope, Promise(self)
        number = self._groups.get(parent, 0)
        self._groups[parent] = number + 1
        group = f"{parent}/{number}"
        self.ops.append(GroupOp(scope=self._here, group=group, items=len(items)))
        results: list[Any] = [None] * len(items)
        left = len(items)

        async def chain(index: int) -> None:
            nonlocal left
            value = items[index]
            try:
                for stage in stages:
                    self.scope = f"{group}.{index}"
                    value = await stage(value, items[index], index)
                    if value is None:
                        break
                results[index] = value
            except Rejected:
                results[index] = None
            left -= 1
            if left == 0:
                self.scope = parent
                done.settle(results)

        for index in range(len(items)):
            self.scope = f"{group}.{index}"
            self._run(chain(index))
        self.scope = parent
        if not items:
            done.settle(results)
        return done

    def together(self, promises: Sequence[Promise]) -> Promise:
        """`Promise.all`: the branch is that of whoever came last."""
        done = Promise(self)
        left = len(promises)

        def one() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.settle([promise.value for promise in promises])

        for promise in promises:
            promise.then(one)
        return done

    # What a host uses.

    def start(self) -> Drained:
        async def whole() -> None:
            try:
                value = await self._body(self)
                self._end = Returned(value=msgspec.Raw(msgspec.json.encode(value)))
            except Rejected as error:
                self._end = Threw(message=str(error))

        self._run(whole())
        return self._drain()

    def deliver(self, delivery: Delivery) -> Drained:
        self.scope = delivery.scope
        promise = self._open.pop(delivery.id)
        if delivery.program is not None:
            self._nest(delivery.id, delivery.program, promise)
        elif delivery.thrown is not None:
            promise.settle(error=Rejected(delivery.thrown.message))
        else:
            promise.settle(None if delivery.value is None else msgspec.json.decode(delivery.value))
        return self._drain()

    @property
    def _here(self) -> Scope:
        return Scope(self.scope)

    def _ask(self, build: Callable[[int], Op]) -> Promise:
        promise = self._open[self._ids] = Promise(self)
        self._ids += 1
        self.ops.append(build(self._ids - 1))
        return promise

    def _nest(self, id: int, program: Program, promise: Promise) -> None:
        async def whole() -> None:
            value = await self.bodies[program.source](self)
            self.scope = parent
            promise.settle(value)

        parent, self.scope = self.scope, self._children[id]
        self._run(whole())

    def _run(self, body: Any) -> None:
        """Up to where it waits; it goes on in the job of what it waits for."""
        coroutine = body

        def go_on() -> None:
            try:
                awaited: Promise = coroutine.send(None)
            except StopIteration:
                return
            awaited.then(go_on)

        go_on()

    def _drain(self) -> Drained:
        while self.jobs and self._end is None:
            self.jobs.popleft()()
        ops, self.ops = tuple(self.ops), []
        return Drained(ops=ops, end=self._end)


OWNER = Owner(user="alice", credential="alice-laptop")
USAGE = Usage(tokens=Tokens(input=100, output=10), cost_nanousd=1_000, requests=1)

Answer = Callable[[str], Any]
"""Of a prompt: a value, None for null, `PENDING` for none before the run ends."""
PENDING = object()


def echo(prompt: str) -> Any:
    return f"re {prompt}"


def build_spec(**fields: Any) -> RunSpec:
    """A run of nothing in particular."""
    given: dict[str, Any] = {
        "id": RunId("wf_before"),
        "owner": OWNER,
        "session": "s",
        "name": "n",
        "description": "d",
        "script": "script",
        "body": "script",
        "script_sha256": "0" * 64,
        "meta": msgspec.Raw(b"{}"),
        "created_ms": 0,
    }
    return RunSpec(**{**given, **fields})


class Play:
    """What happened: `lines` of the journal, and for each call whether it was taken over, or why not."""

    def __init__(self) -> None:
        self.lines: list[Line] = [RunLine(at_ms=0, spec=build_spec())]
        self.issued: list[IssuedLine] = []
        self.answers: list[Hit | Miss] = []
        self.result: Any = None
        self.live_deliveries: list[int] = []
        """How many calls had been issued when each live result was delivered."""

    @property
    def hits(self) -> list[str]:
        return [self.issued[i].prompt for i, answer in enumerate(self.answers) if isinstance(answer, Hit)]

    @property
    def misses(self) -> dict[str, str]:
        answers = zip(self.issued, self.answers, strict=True)
        return {line.prompt: answer.reason for line, answer in answers if isinstance(answer, Miss)}

    @property
    def recorded(self) -> Recorded:
        return fold_journal([*self.lines, StateLine(at_ms=0, before="running", after="stopped")])


def play(
    body: Body,
    answer: Answer = echo,
    *,
    pick: Callable[[int], int] = lambda waiting: 0,
    replay: Replay | None = None,
    nested: dict[str, tuple[Body, str]] | None = None,
) -> Play:
    """A run to its end, or until nothing is answered. `pick` chooses which of the waiting live calls ends next.

    `nested`: workflows by name, with the hash of their source.
    """
    return _Player(body, answer, pick=pick, replay=replay, nested=nested or {}).play()


class _Player:
    def __init__(
        self,
        body: Body,
        answer: Answer,
        *,
        pick: Callable[[int], int],
        replay: Replay | None,
        nested: dict[str, tuple[Body, str]],
    ) -> None:
        self.script = Script(body)
        self.script.bodies = {name: child for name, (child, _) in nested.items()}
        self.answer, self.pick, self.replay, self.nested = answer, pick, replay, nested
        self.seen = Play()
        self.batches = Batches()
        self.hits: list[tuple[int, int]] = []
        self.live: list[int] = []
        self.wanted: deque[WorkflowOp] = deque()
        self.seq = 0

    def play(self) -> Play:
        drained = self.script.start()
        while True:
            self.take_in(drained)
            if isinstance(drained.end, Returned):
                self.seen.result = msgspec.json.decode(drained.end.value)
                return self.seen
            delivery = self.next()
            if delivery is None:
                return self.seen
            drained = self.script.deliver(delivery)

    def take_in(self, drained: Drained) -> None:
        if self.replay is not None:
            self.replay.next_drain()
        calls = [op for op in drained.ops if isinstance(op, AgentOp)]
        scopes = iter(self.batches.assign([op.scope for op in calls]))
        for op in drained.ops:
            if isinstance(op, AgentOp):
                self.issue(op, next(scopes))
            elif isinstance(op, GroupOp) and self.replay is not None:
                self.replay.group(op.scope, op.group)
            elif isinstance(op, WorkflowOp):
                self.wanted.append(op)
                if self.replay is not None:
                    self.replay.nested_asked(op)

    def issue(self, op: AgentOp, scope: Scope) -> None:
        index = CallIndex(len(self.seen.issued))
        line = IssuedLine(
            at_ms=0,
            id=op.id,
            index=index,
            key=call_key(op.prompt, op.options),
            scope=scope,
            prompt=op.prompt,
            options=op.options,
            phase=op.options.phase,
        )
        self.seen.issued.append(line)
        self.seen.lines.append(line)
        answer: Hit | Miss = Miss("new")
        if self.replay is not None:
            answer = self.replay.issued(line.key, scope, op.options)
        self.seen.answers.append(answer)
        if isinstance(answer, Hit):
            heapq.heappush(self.hits, (answer.seq, index))
        else:
            self.live.append(index)
            started = StartedLine(at_ms=0, index=index, attempt=1, agent_id=AgentId(f"a{index}"))
            self.seen.lines.append(started)

    def next(self) -> Delivery | None:
        if self.wanted:
            return self.nest(self.wanted.popleft())
        if self.hits:
            _, index = heapq.heappop(self.hits)
            hit = self.seen.answers[index]
            assert isinstance(hit, Hit)
            return self.settle(index, hit.value, cached=True)
        while self.live:
            index = self.live.pop(self.pick(len(self.live)))
            value = self.answer(self.seen.issued[index].prompt)
            if value is not PENDING:
                self.seen.live_deliveries.append(len(self.seen.issued))
                raw = None if value is None else msgspec.Raw(msgspec.json.encode(value))
                return self.settle(index, raw, cached=False)
        return None

    def settle(self, index: int, value: msgspec.Raw | None, *, cached: bool) -> Delivery:
        issued = self.seen.issued[index]
        if value is None:
            error = ErrorLine(at_ms=0, index=issued.index, key=issued.key, seq=self.seq, null="api_error", usage=USAGE)
            self.seen.lines.append(error)
        else:
            result = ResultLine(
                at_ms=0,
                index=issued.index,
                key=issued.key,
                scope=issued.scope,
                seq=self.seq,
                spent=0,
                value=value,
                usage=USAGE,
                cached=cached,
            )
            self.seen.lines.append(result)
        self.seq += 1
        return Delivery(id=issued.id, scope=issued.scope, value=value or msgspec.Raw(b"null"))

    def nest(self, op: WorkflowOp) -> Delivery:
        assert op.name is not None
        _, sha256 = self.nested[op.name]
        line = NestedLine(
            at_ms=0, id=op.id, scope=op.scope, seq=self.seq, spent=0, wanted=op.name, source_sha256=sha256
        )
        self.seen.lines.append(line)
        self.seq += 1
        if self.replay is not None:
            self.replay.nested_found(op, sha256)
        program = Program(source=op.name, body="", meta=msgspec.Raw(b"{}"))
        return Delivery(id=op.id, scope=op.scope, program=program)
