"""One gateway in front of three clouds that fail, and what a client of each dialect is left with. No test here.

Which cloud is asked is told by the model, so that a table of failures shares one gateway and one strict budget.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from botocore.eventstream import EventStreamBuffer

from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.cloud import Cloud
from tests.support.clouds.configured import BACKENDS
from tests.support.clouds.faults import ACCOUNT, PROJECT_NUMBER
from tests.support.clouds.vertex import FakeVertex
from tests.support.dialects import Json, Sent, read_message, write_count, write_request
from tests.support.gateway import UPSTREAM_KEY, Serving, serving
from tests.support.upstream import Answer, ScriptedUpstream

DIALECTS = ("anthropic", "bedrock", "vertex")
MODELS = {"bedrock": "claude-opus-5-5", "vertex": "claude-opus-4-8", "anthropic": "claude-sonnet-5-5"}
"""The model that each kind of upstream is asked for."""
BUDGETS = [{"account": "org", "window": "daily", "limit_usd": 1000, "strict": True}]
SECRETS = (ACCOUNT, PROJECT_NUMBER, "arn:", "proj-x", "internal.example.net", "fake-", UPSTREAM_KEY)
"""Of the operator's accounts and machines; no client may see one."""
BASH = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
COUNTED = ("model", "messages", "tools")

STATUSES: dict[str, dict[int, int]] = {"anthropic": {}, "bedrock": {504: 408, 529: 503}, "vertex": {529: 503}}
"""Statuses of the Messages API that a dialect has another one for."""
NAMES: dict[str, tuple[str, str]] = {
    "invalid_request_error": ("ValidationException", "INVALID_ARGUMENT"),
    "authentication_error": ("AccessDeniedException", "UNAUTHENTICATED"),
    "permission_error": ("AccessDeniedException", "PERMISSION_DENIED"),
    "not_found_error": ("ResourceNotFoundException", "NOT_FOUND"),
    "rate_limit_error": ("ThrottlingException", "RESOURCE_EXHAUSTED"),
    "api_error": ("InternalServerException", "INTERNAL"),
    "timeout_error": ("ModelTimeoutException", "DEADLINE_EXCEEDED"),
    "overloaded_error": ("ServiceUnavailableException", "UNAVAILABLE"),
}
"""What an error type of the Messages API is called by Bedrock and by Google."""
STREAM_EXCEPTIONS = {
    "api_error": "internalServerException",
    "invalid_request_error": "validationException",
    "overloaded_error": "serviceUnavailableException",
    "rate_limit_error": "throttlingException",
    "timeout_error": "modelTimeoutException",
}
"""What it is called inside an event stream."""

Exchange = tuple[int, dict[str, str], bytes, bool]
"""Status, headers by lower-case name, body, and whether the connection ended before the body did."""
_sessions = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request ended with: for the client, in the audit trail, in the ledger."""

    dialect: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    """The connection ended before the answer did."""
    record: Json
    held_nanousd: int
    """On all accounts together, after the request."""

    @property
    def events(self) -> list[Json]:
        """Events of a stream, pings apart; of one that was cut those that came whole."""
        if self.dialect != "bedrock":
            lines = self.body.decode().split("\n\n")[:-1]
            found = [json.loads(line[line.index("data: ") + 6 :]) for line in lines]
        else:
            buffer = EventStreamBuffer()
            buffer.add_data(self.body)
            found = [read_message(message) for message in buffer]
        return [event for event in found if event.get("type") != "ping"]

    @property
    def shown(self) -> str:
        """All that the client can read, what is encoded in frames as well."""
        framed = "eventstream" in self.headers.get("content-type", "")
        return f"{dict(self.headers)} {self.body.decode(errors='replace')} {self.events if framed else ''}"

    @property
    def leaks(self) -> list[str]:
        """Secrets of the operator among it."""
        return [secret for secret in SECRETS if secret in self.shown]

    @property
    def money(self) -> str:
        """`nothing`, `estimated` or `reported` was paid. Something was held before, nothing is any more."""
        assert self.record["hold"]["worst"]["cost"] > 0 == self.held_nanousd
        if self.record["cost_nanousd"] == 0:
            return "nothing"
        return "estimated" if self.record["cost_estimated"] else "reported"


@dataclass(frozen=True, slots=True)
class Bench:
    """The gateway and its clouds by kind."""

    gateway: Serving
    clouds: Mapping[str, Cloud | ScriptedUpstream]

    async def ask(self, kind: str, dialect: str, answer: Answer, *, stream: bool) -> Outcome:
        """One request to a kind of upstream, which gives `answer`."""
        (outcome,) = await self.ask_all([(kind, dialect)], {kind: answer}, stream=stream)
        return outcome

    async def ask_all(
        self, pairs: Sequence[tuple[str, str]], answers: Mapping[str, Answer], *, stream: bool
    ) -> list[Outcome]:
        """Requests at the same time, one for each (kind, dialect); those of a kind get the same answer."""
        spent_before = (await self._org())["used"]
        asking: list[Any] = []
        for kind, dialect in pairs:
            self.clouds[kind].queue(answers[kind])
            asking.append(self._exchange(write_request(dialect, asked(kind, dialect, stream=stream))))
        outcomes = await self._outcomes(pairs, await asyncio.gather(*asking))
        spent = (await self._org())["used"] - spent_before
        assert spent == sum(outcome.record["cost_nanousd"] for outcome in outcomes)
        return outcomes

    async def count(self, kind: str, dialect: str, answer: Answer) -> Outcome:
        """One token count by a kind of upstream, which gives `answer`."""
        self.clouds[kind].queue(answer)
        body = {name: value for name, value in asked(kind, dialect, stream=False).items() if name in COUNTED}
        (outcome,) = await self._outcomes([(kind, dialect)], [await self._exchange(write_count(dialect, body))])
        return outcome

    async def _outcomes(self, pairs: Sequence[tuple[str, str]], exchanges: Sequence[Exchange]) -> list[Outcome]:
        await self.gateway.quiet()
        held = (await self._org())["held"]
        records = self._records([told["x-ringfence-decision"] for _, told, _, _ in exchanges])
        return [
            Outcome(dialect, *exchange, record=record, held_nanousd=held)
            for (_, dialect), exchange, record in zip(pairs, exchanges, records, strict=True)
        ]

    async def _exchange(self, sent: Sent) -> Exchange:
        headers = {**sent.headers, "x-claude-code-session-id": f"session-{next(_sessions)}"}
        pieces: list[bytes] = []
        cut = False
        async with self.gateway.post(sent.body, path=sent.path, headers=headers) as response:
            try:
                while piece := await response.content.readany():
                    pieces.append(piece)
            except (aiohttp.ClientPayloadError, ConnectionError):
                cut = True
        told = {name.lower(): value for name, value in response.headers.items()}
        return response.status, told, b"".join(pieces), cut

    def _records(self, decisions: Sequence[str]) -> list[Json]:
        """Audit records of requests, found by the decision that each answer carries."""
        found: dict[str, Json] = {}
        for line in reversed((self.gateway.directory / "audit.jsonl").read_text().splitlines()):
            if line.startswith('{"event":"request"') and (record := json.loads(line))["id"] in decisions:
                found[record["id"]] = record
            if len(found) == len(decisions):
                break
        return [found[decision] for decision in decisions]

    async def _org(self) -> Json:
        return (await self.gateway.operator("limits?account=org"))["limits"][0]


def asked(kind: str, dialect: str, *, stream: bool) -> Json:
    """A request in the Messages API's form, its model as clients of the dialect name it."""
    model = f"us.anthropic.{MODELS[kind]}" if dialect == "bedrock" else MODELS[kind]
    messages = [{"role": "user", "content": "List the files."}]
    return {"model": model, "max_tokens": 100, "messages": messages, "tools": [BASH], "stream": stream}


def spoken(dialect: str, status: int, error_type: str) -> tuple[int, str]:
    """Status and name, in a dialect, of an error of the Messages API."""
    bedrock, google = NAMES[error_type]
    name = {"anthropic": error_type, "bedrock": bedrock, "vertex": google}[dialect]
    return STATUSES[dialect].get(status, status), name


def last_words(dialect: str, error_type: str) -> Json:
    """How a stream names the error that ends it."""
    if dialect == "bedrock":
        return {"exception": STREAM_EXCEPTIONS[error_type]}
    return {"type": "error", "error": {"type": error_type}}


def named(event: Json) -> Json:
    """An event without its message."""
    kept = {name: value for name, value in event.items() if name in ("type", "exception")}
    return kept | ({"error": {"type": event["error"]["type"]}} if "error" in event else {})


@contextlib.asynccontextmanager
async def failing_clouds(
    directory: Path, *, ping_seconds: float = 15.0, overrides: Mapping[str, Json] | None = None, **keys: Any
) -> AsyncIterator[Bench]:
    """The gateway over all three kinds. `keys` are added to each upstream, `overrides` to the one of a kind."""
    async with FakeBedrock() as bedrock, FakeVertex() as vertex, ScriptedUpstream() as anthropic:
        shared = {"breaker": {"failures": 1000}, **keys}
        upstreams: list[Json] = [
            BACKENDS["bedrock"].upstream(bedrock, "bedrock"),
            BACKENDS["vertex"].upstream(vertex, "vertex"),
            {"id": "anthropic", "backend": "anthropic", "base_url": anthropic.base_url, "api_key": UPSTREAM_KEY},
        ]
        upstreams = [each | shared | (overrides or {}).get(each["id"], {}) for each in upstreams]
        routes = [{"models": [model], "upstreams": [kind]} for kind, model in MODELS.items()]
        async with serving(
            directory,
            "",
            ping_seconds=ping_seconds,
            upstreams=[{name: value for name, value in each.items() if value is not None} for each in upstreams],
            routes=routes,
            budgets=BUDGETS,
        ) as gateway:
            yield Bench(gateway, {"bedrock": bedrock, "vertex": vertex, "anthropic": anthropic})
