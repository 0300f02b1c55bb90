"""One model request of an attempt, asked until it is answered or cannot be: waiting, trying again, giving up (W56).

The transcript is kept throughout; what a broken answer has used is counted all the same. Each try waits until the run
lets the agent go on, and takes along what people have to say to it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field

from runtime.agents.allowance import Allowance, limit_reached
from runtime.agents.answer import Answer, AnswerReader, BrokenStream
from runtime.agents.client import GatewayClient, headers_of
from runtime.agents.endings import AttemptOver
from runtime.agents.refusals import (
    BLOCKED_DELAY_SECONDS,
    Again,
    Blocked,
    OwnWords,
    Refusal,
    Stalled,
    advise,
    delay_seconds,
    effort_below,
)
from runtime.agents.transcript import Transcript
from runtime.core.model import Usage
from runtime.ports import AgentTask, Clock, Limited, Prices, Watch

Efforts = MutableMapping[tuple[str, str], str | None]
"""What takes the place of an effort that a model was found not to support; shared by all attempts."""
EFFORTS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """How requests go out, the same for every attempt."""

    client: GatewayClient
    prices: Prices
    clock: Clock
    wait: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]
    efforts: Efforts


@dataclass(slots=True)
class _Patience:
    """How often one request has failed, and how long that is going on."""

    began: float | None = None
    tries: int = 0


@dataclass(slots=True)
class Asker:
    """Asks for one attempt."""

    dispatch: Dispatch
    task: AgentTask
    watch: Watch
    allowance: Allowance
    steered: bool = False
    answered_by: str | None = None
    _headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        self._headers = headers_of(self.task)

    async def ask(self, transcript: Transcript, max_tokens: int) -> Answer:
        """The answer to a transcript, which grows by what people said meanwhile. Raises `AttemptOver`."""
        patience = _Patience()
        self._lower_known_effort(transcript)
        while True:
            await self._wait_for_leave(transcript)
            try:
                async with self.allowance.in_time():
                    return await self._send(transcript.body(max_tokens=max_tokens))
            except Stalled as stall:
                detail = f"nothing came from the model for {stall.seconds:g} s"
                raise AttemptOver("stalled", detail, transient=True) from None
            except Refusal as refusal:
                await self._bear(refusal, patience, transcript)

    async def _wait_for_leave(self, transcript: Transcript) -> None:
        with self.allowance.paused():
            texts = await self.watch.before_request()
        for text in texts:
            self.steered = True
            transcript.add_text(text)

    async def _send(self, body: bytes) -> Answer:
        """One try. Raises `Refusal`, `Stalled`, and `AttemptOver` where the gateway ends the turn in its own words."""
        reader, is_own = AnswerReader(), False
        idle_ms = self.task.options.idle_timeout_ms
        idle_seconds = idle_ms / 1000 if idle_ms is not None else self.task.run.limits.idle_seconds
        try:
            async with aclosing(self.dispatch.client.stream(self._headers, body, idle_seconds)) as events:
                async for event in events:
                    if isinstance(event, OwnWords):
                        is_own = True
                        continue
                    waited = not reader.begun
                    reader.feed(event)
                    if waited and reader.begun:
                        self.watch.began()
            answer = reader.finish()
        except BrokenStream as broken:
            raise Refusal(message=str(broken)) from None
        finally:
            if reader.begun:
                self._count(reader)
        if is_own:
            raise limit_reached(answer.text)
        return answer

    def _count(self, reader: AnswerReader) -> None:
        model = reader.model or self.task.run.model or ""
        self.answered_by = model
        tokens = reader.tokens
        usage = Usage(tokens=tokens, cost_nanousd=self.dispatch.prices.cost(model, tokens), requests=1)
        self.allowance.count(usage)
        self.watch.used(usage)

    async def _bear(self, refusal: Refusal, patience: _Patience, transcript: Transcript) -> None:
        """Return when the request may be tried again. Raises `AttemptOver`."""
        if self._lower_effort(refusal, transcript):
            return
        advice = advise(refusal, self.dispatch.clock.unix_ms())
        if isinstance(advice, AttemptOver):
            raise advice
        if isinstance(advice, Blocked) and advice.limit.kind != "throttled":
            with self.allowance.paused():
                await self._stay_blocked(advice)
            return
        await self._back_off(refusal, advice, patience)

    async def _stay_blocked(self, blocked: Blocked) -> None:
        since = self.dispatch.clock.monotonic()
        await self.watch.limited(blocked.limit)
        left = since + max(BLOCKED_DELAY_SECONDS, blocked.after_seconds or 0.0) - self.dispatch.clock.monotonic()
        if left > 0:
            await self.dispatch.wait(left)

    async def _back_off(self, refusal: Refusal, advice: Again | Blocked, patience: _Patience) -> None:
        now = self.dispatch.clock.monotonic()
        patience.began = now if patience.began is None else patience.began
        patience.tries += 1
        delay = delay_seconds(patience.tries, advice.after_seconds, self.dispatch.jitter())
        seconds_max = self.task.run.limits.retry_seconds
        if now + delay - patience.began > seconds_max:
            tries = f"{patience.tries} tries" if patience.tries > 1 else "one try"
            detail = f"given up after {tries}, since {seconds_max:g} s is the longest to try: {refusal}"
            raise AttemptOver("api_error", detail, transient=True)
        async with self.allowance.in_time():
            if isinstance(advice, Blocked):
                until_ms = self.dispatch.clock.unix_ms() + round(delay * 1000)
                await self.watch.limited(Limited("throttled", advice.limit.message, until_ms))
            left = now + delay - self.dispatch.clock.monotonic()
            if left > 0:
                await self.dispatch.wait(left)

    def _lower_known_effort(self, transcript: Transcript) -> None:
        while transcript.effort is not None and (transcript.model, transcript.effort) in self.dispatch.efforts:
            transcript.effort = self.dispatch.efforts[transcript.model, transcript.effort]

    def _lower_effort(self, refusal: Refusal, transcript: Transcript) -> bool:
        effort = transcript.effort
        lower = effort_below(refusal, effort)
        if effort is None or lower is None:
            return False
        if len(self.dispatch.efforts) >= EFFORTS_MAX:
            self.dispatch.efforts.clear()
        self.dispatch.efforts[transcript.model, effort] = transcript.effort = lower[0]
        instead = lower[0] or "its own default"
        self.watch.warn("effort_unsupported", f"{transcript.model} does not know effort {effort}: {instead} is used")
        return True
