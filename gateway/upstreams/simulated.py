"""A scripted model inside the process: costs nothing, needs no key, reaches no network. Not a model.

Answers the Messages API and token counting as the real thing does: byte format, usage, pacing and faults included. What
it says comes from a directive in the prompt, from a scenario, or else from the request (`simulation/`). It keeps no
conversation: a reply is a function of the request, so agents may run side by side; only the prompt cache remembers.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import aiohttp
import msgspec

from gateway.config import UpstreamConfig
from gateway.contract import COUNT_TOKENS_PATH, MESSAGES_PATH, error_envelope
from gateway.core.wire.shapes import Shape
from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamRequest
from gateway.upstreams.http import messages_path
from gateway.upstreams.simulation.conversation import BadRequest, Conversation, read_conversation
from gateway.upstreams.simulation.prefixes import PrefixCache, count_tokens
from gateway.upstreams.simulation.reading import find_directive, load_scenario
from gateway.upstreams.simulation.reply import Reply, compose_reply, select_turn
from gateway.upstreams.simulation.scenario import ErrorFault, Scenario, ScenarioInvalid, StatusFault
from gateway.upstreams.simulation.writing import Frame, json_frames, stream_frames

Sleep = Callable[[float], Awaitable[None]]

_JSON = ("content-type", "application/json")
_SSE = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_STATUS_OF_ERROR = {"overloaded_error": 529, "rate_limit_error": 429, "permission_error": 403, "timeout_error": 504}
_IDENTITY_HEADERS = frozenset({"x-claude-code-session-id", "x-claude-code-agent-id"})


class SimulatedAnswer:
    """An answer that has begun; its frames are sent as time allows."""

    __slots__ = ("_closed", "_frames", "_sleep", "_upstream_id", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        *,
        frames: Iterable[Frame],
        upstream_id: str,
        sleep: Sleep,
    ) -> None:
        self.status = status
        self.headers = headers
        self._frames = frames
        self._upstream_id = upstream_id
        self._sleep = sleep
        self._closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, one event at a time. Raises `GatewayError(UPSTREAM_BROKE)` where the scenario cuts it."""
        for frame in self._frames:
            if frame.seconds:
                await self._sleep(frame.seconds)
            if self._closed:
                return
            if frame.cut:
                raise GatewayError(
                    Reason.UPSTREAM_BROKE, f"Upstream '{self._upstream_id}' broke off within its answer."
                )
            if frame.data:
                yield frame.data

    async def close(self) -> None:
        """Send nothing more."""
        self._closed = True


def build(config: UpstreamConfig, _session: aiohttp.ClientSession) -> "SimulatedUpstream":
    """As configured; without a scenario file nothing is scripted. Raises `ScenarioInvalid`."""
    return SimulatedUpstream(config.id, Scenario() if config.scenario is None else load_scenario(config.scenario))


class SimulatedUpstream:
    """One simulated endpoint with its scenario and prompt cache."""

    backend = "simulated"
    shape: Shape = "anthropic"

    def __init__(
        self,
        upstream_id: str,
        scenario: Scenario,
        *,
        sleep: Sleep = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = upstream_id
        self._scenario = scenario
        self._sleep = sleep
        self._cache = PrefixCache(monotonic)
        self._request_numbers = itertools.count(1)

    async def send(self, request: UpstreamRequest) -> SimulatedAnswer:
        """Answers every request; what the real API would refuse gets its status and envelope."""
        request_id = f"req_sim_{next(self._request_numbers):06}"
        path = messages_path(request).partition("?")[0]
        try:
            if path not in (MESSAGES_PATH, COUNT_TOKENS_PATH):
                return self._refuse(request_id, StatusFault(404, "not_found_error", f"nothing is served at {path}"))
            conversation = read_conversation(request.body)
            if path == COUNT_TOKENS_PATH:
                body = msgspec.json.encode({"input_tokens": count_tokens(conversation.document)})
                return self._answer(200, [_JSON, ("request-id", request_id)], [Frame(body)])
            reply = self._reply(request, conversation)
        except BadRequest as error:
            return self._refuse(request_id, StatusFault(400, "invalid_request_error", str(error)))
        except ScenarioInvalid as error:
            text = "the simulate directive in the prompt is wrong: " + "; ".join(map(str, error.problems))
            return self._refuse(request_id, StatusFault(400, "invalid_request_error", text))
        refusal = _refusal(reply, stream=conversation.stream)
        if refusal is not None:
            return self._refuse(request_id, refusal)
        if reply.pace.first_token_seconds:
            await self._sleep(reply.pace.first_token_seconds)
        if conversation.stream:
            return self._answer(200, [*_SSE, ("request-id", request_id)], stream_frames(reply))
        return self._answer(200, [_JSON, ("request-id", request_id)], json_frames(reply))

    async def close(self) -> None:
        """Nothing is held open."""

    def _reply(self, request: UpstreamRequest, conversation: Conversation) -> Reply:
        selected = select_turn(self._scenario, find_directive(conversation.prompt), conversation)
        identity = [value for name, value in request.headers if name.lower() in _IDENTITY_HEADERS]
        return compose_reply(
            selected,
            conversation,
            counted=self._cache.read(conversation.document),
            seed="\n".join(identity).encode() + request.body,
        )

    def _refuse(self, request_id: str, fault: StatusFault) -> SimulatedAnswer:
        body = error_envelope(fault.type, fault.message, request_id)
        return self._answer(fault.code, [_JSON, ("request-id", request_id), *fault.headers], [Frame(body)])

    def _answer(self, status: int, headers: Sequence[tuple[str, str]], frames: Iterable[Frame]) -> SimulatedAnswer:
        return SimulatedAnswer(status, headers, frames=frames, upstream_id=self.id, sleep=self._sleep)


def _refusal(reply: Reply, *, stream: bool) -> StatusFault | None:
    """The HTTP error a scenario asks for; without a stream an in-stream error is one too."""
    for fault in reply.faults:
        if isinstance(fault, StatusFault):
            return fault
        if isinstance(fault, ErrorFault) and not stream:
            return StatusFault(_STATUS_OF_ERROR.get(fault.type, 500), fault.type, fault.message)
    return None
