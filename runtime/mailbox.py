"""What people ask of a run reaches whoever drives it: this process at once, another one by a letter in their store.

The answer to a letter is kept among the outcomes of the run. A letter is taken once, by whoever holds the run's lease
then; one that nobody takes in time is dropped, so that nothing is done that nobody waits for any more.
"""

import asyncio
import logging
from typing import Any, Literal

import msgspec

from runtime.core import happenings as on
from runtime.core.model import CallIndex, RunId
from runtime.launch import Kind, RunError
from runtime.ports import Letter
from runtime.runner import Runner
from runtime.runs import DrivenElsewhere, Runs

LETTER_MS = 8_000
"""How long a letter waits to be taken."""
WAIT_SECONDS = 10.0
"""How long its writer waits for the answer."""
LOOK_SECONDS = 0.1
"""How often it looks for one."""

Verb = Literal["pause", "freeze", "resume", "stop", "deny"]
AgentVerb = Literal["stop", "skip", "restart", "message"]
Answer = dict[str, Any]

_log = logging.getLogger(__name__)


class RunOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="run"):
    """A person's word on a run."""

    verb: Verb | Literal["approve"]
    by: str
    why: str = ""
    cap_nanousd: int | None = None

    def event(self) -> on.Event:
        """What it is to the run."""
        match self.verb:
            case "pause" | "freeze":
                return on.PauseAsked("person", by=self.by, freeze=self.verb == "freeze", message=self.why)
            case "resume":
                return on.ResumeAsked(self.by, max_cost_nanousd=self.cap_nanousd, message=self.why)
            case "stop":
                return on.StopAsked(self.by, self.why)
            case "approve":
                return on.Approved(self.by, self.why)
            case "deny":
                return on.Denied(self.by, self.why)

    def shown(self, runner: Runner, now_ms: int) -> Answer:
        """The run as it is then."""
        return runner.view.record(now_ms)


class AgentOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="agent"):
    """A person's word on one agent."""

    index: CallIndex
    verb: AgentVerb
    by: str
    text: str = ""

    def event(self) -> on.Event:
        """What it is to the run."""
        match self.verb:
            case "stop" | "skip":
                return on.AgentStopAsked(self.index, self.by, skip=self.verb == "skip")
            case "restart":
                return on.AgentRestartAsked(self.index, self.by)
            case "message":
                return on.MessageSent(self.index, self.text, self.by)

    def shown(self, runner: Runner, now_ms: int) -> Answer:
        """The agent as it is then."""
        shown = runner.view.agent(self.index, now_ms)
        assert shown is not None
        return shown


class _Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a letter: an answer, or why not."""

    answer: Answer | None = None
    kind: Kind = "unavailable"
    message: str = ""
    detail: dict[str, Any] = {}


Order = RunOrder | AgentOrder

_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_reply_decoder = msgspec.json.Decoder(_Reply)


class Mailbox:
    """Of this process."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._store = runs.ground.store
        self._clock = runs.ground.clock

    async def ask(self, run: RunId, order: Order) -> Answer:
        """Have it done, wherever the run is driven; what is shown of it then. Raises `RunError`."""
        try:
            return await self._carry_out(run, order)
        except DrivenElsewhere:
            return await self._send(run, order)

    async def answer(self) -> None:
        """Do what others were asked of the runs that are driven here. To be called several times a second."""
        if not self._runs.driven and not self._runs.sleeping:
            return
        for letter in await self._store.take(self._runs.me, self._clock.unix_ms(), ttl_ms=LETTER_MS):
            reply = msgspec.json.encode(await self._reply(letter))
            await self._store.remember_outcome(letter.run, _key(letter.id), reply, self._clock.unix_ms())

    async def _reply(self, letter: Letter) -> _Reply:
        try:
            return _Reply(answer=await self._carry_out(letter.run, _decoder.decode(letter.text)))
        except RunError as error:
            return _Reply(kind=error.kind, message=error.message, detail=error.detail)
        except msgspec.MsgspecError:
            _log.warning("run %s was asked for something that this version does not know", letter.run)
            text = f"run {letter.run} is driven by a gateway of another version, which cannot do that"
            return _Reply(message=text)

    async def _carry_out(self, run: RunId, order: Order) -> Answer:
        runner = await self._runs.tell(run, order.event())
        if isinstance(order, RunOrder) and order.verb == "approve":
            self._runs.go_on(runner)
        return order.shown(runner, self._clock.unix_ms())

    async def _send(self, run: RunId, order: Order) -> Answer:
        id = await self._store.post(run, msgspec.json.encode(order), self._clock.unix_ms())
        deadline = self._clock.monotonic() + WAIT_SECONDS
        while (text := await self._store.outcome(run, _key(id))) is None:
            if self._clock.monotonic() >= deadline:
                text = f"whoever drives run {run} did not answer within {WAIT_SECONDS:g} s: look at it, then ask again"
                raise RunError("unavailable", text)
            await asyncio.sleep(LOOK_SECONDS)
        reply = _reply_decoder.decode(text)
        if reply.answer is None:
            raise RunError(reply.kind, reply.message, **reply.detail)
        return reply.answer


def _key(id: int) -> str:
    """Of the answer; no key of a person begins like this."""
    return f"letter/{id}"
