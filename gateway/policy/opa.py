"""The engine that asks a real OPA server (`opaclient.py`). Whatever goes wrong is a denial.

Not what puts policies on that server (`pushing.py`), and not a cache: the server's policies may change at any moment,
so each query is asked anew, and each answer says which policies gave it. An answer of other policies than the
gateway's own is not taken.

How far it reaches: one question has `timeout_ms` in all. A connection that fails is tried once more at once (a server
that restarts closes those that are kept open); an answer never is. After some failures in a row the server is left
alone for a second, then asked again, so that an outage costs each request little time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast, get_args

import aiohttp
import msgspec

from gateway.core.decisions.decision import Decision, Query
from gateway.core.routes.breaker import CLOSED, BreakerSettings, claim, step
from gateway.core.routes.breaker import Outcome as BreakerOutcome
from gateway.errors import GatewayError, Reason
from gateway.policy.answer import failed, read_answer, refused_unasked
from gateway.policy.opaclient import OpaServer
from gateway.ports import Clock

Outcome = Literal["answered", "undefined", "failed", "invalid", "refused", "timeout", "unreachable", "open", "stale"]
"""What became of a question: `failed`, the policies did; `stale`, other policies answered; `open`, it was not asked."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

BREAKER = BreakerSettings(failures=5, open_ms=1000)
OPEN_MS_MAX = 5000
"""Longest time that a server is left alone: everything is denied meanwhile."""
REVISION_CHARS_MAX = 120

PACKAGE = "ringfence"
RULE = "decision"
SERVED = "served"
"""The package, below the rules' own, that says what the gateway has put on the server."""

_GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Those of something before the server: it did not answer."""
_STRICT = {"strict-builtin-errors": "true"}
"""A built-in that fails would otherwise be undefined, and the rule silent."""
_WITH_REVISION = {**_STRICT, "provenance": "true"}

_log = logging.getLogger(__name__)


class Expected(Protocol):
    """The policies that the gateway has put on the server."""

    @property
    def revision(self) -> str: ...
    async def restore(self) -> bool:
        """Put them there again, if nobody else's are there; whether they are there now."""
        ...


class Unanswered(Exception):
    """There is no decision. `what` may be shown to the client."""

    def __init__(self, outcome: Outcome, what: str) -> None:
        super().__init__(what)
        self.outcome: Outcome = outcome
        self.what = what


def _untold(*_: object) -> None:
    """For an engine that nobody counts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a question may take, and who is told what became of it."""

    timeout_ms: int = 250
    asked: Callable[[Outcome, float], None] = _untold
    """Of each query: what became of it, and after how many seconds."""


class OpaEngine:
    """Implements `ports.PolicyEngine`. `expected` None: the server has policies of its own."""

    def __init__(self, server: OpaServer, clock: Clock, limits: Limits, expected: Expected | None) -> None:
        self._server = server
        self._clock = clock
        self._limits = limits
        self._expected = expected
        self._breaker = CLOSED
        self._revision = ""

    @property
    def revision(self) -> str:
        """Of the policies that are expected, else of those that answered last."""
        return self._revision if self._expected is None else self._expected.revision

    @property
    def up(self) -> bool:
        """Whether the server answers, as far as is known."""
        return self._breaker.state == "closed"

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`. Never raises."""
        refused = refused_unasked(query, self.revision)
        if refused is not None:
            return refused
        started = self._clock.monotonic()
        outcome: Outcome = "answered"
        try:
            decision = await self._decide(query)
        except Unanswered as unanswered:
            outcome, decision = unanswered.outcome, failed(unanswered.what, self.revision)
        except Exception as error:  # noqa: BLE001 - whatever it was, there is no decision
            _log.exception("asking the OPA server failed (%s)", error)
            outcome, decision = "invalid", failed("the policy server could not be asked", self.revision)
        self._limits.asked(outcome, self._clock.monotonic() - started)
        return decision

    async def reload(self, over: Mapping[str, Any] | None = None) -> str:
        """The server reloads its policies by itself, and nothing is laid over them: asks which they are.

        Raises `GatewayError` when it cannot say.
        """
        try:
            answer, self._revision = await self._ask({})
            read_answer(answer, self._revision)
        except (Unanswered, msgspec.ValidationError) as error:
            raise GatewayError(Reason.POLICY_FAILED, f"the OPA server cannot decide: {error}") from error
        return self._revision

    async def _decide(self, query: Query) -> Decision:
        document = _document(query)
        try:
            answer, self._revision = await self._ask(document)
        except Unanswered as unanswered:
            if unanswered.outcome != "stale" or self._expected is None or not await self._expected.restore():
                raise
            answer, self._revision = await self._ask(document)
        try:
            return read_answer(answer, self._revision)
        except msgspec.ValidationError as error:
            raise Unanswered("invalid", f"the policies' answer is none ({error})") from error

    async def _ask(self, document: object) -> tuple[object, str]:
        """The answer and the revision of the policies that gave it. Raises `Unanswered`."""
        body = await self._guarded(document)
        if self._expected is None:
            revision = bundle_revision(body)
            answer = body.get("result")
        else:
            served = body.get("result")
            held = cast("dict[str, Any]", served) if isinstance(served, dict) else {}
            revision = held.get("revision", "")
            if revision != self._expected.revision:
                raise Unanswered("stale", "the policy server does not hold the gateway's policies")
            answer = held.get(RULE)
        if answer is None:
            raise Unanswered("undefined", "the policies do not say anything")
        return answer, revision

    async def _guarded(self, document: object) -> dict[str, Any]:
        """One question under the breaker and the time limit."""
        claimed = claim(self._breaker, self._now_ms())
        if claimed is None:
            raise Unanswered("open", "the policy server does not answer")
        self._breaker = claimed
        outcome: BreakerOutcome = "abandoned"
        try:
            async with asyncio.timeout(self._limits.timeout_ms / 1000):
                body = await self._query(document)
            outcome = "succeeded"
        except TimeoutError as error:
            outcome = "failed"
            what = f"the policy server did not answer within {self._limits.timeout_ms} ms"
            raise Unanswered("timeout", what) from error
        except aiohttp.ClientResponseError as error:
            outcome = "failed" if error.status in _GATEWAY_STATUSES else "answered"
            if error.status == 500:
                raise Unanswered("failed", "the policies could not be evaluated") from error
            raise Unanswered("refused", f"the policy server answered {error.status}") from error
        except aiohttp.ClientError as error:
            outcome = "failed"
            raise Unanswered("unreachable", "the policy server cannot be reached") from error
        finally:
            self._became(outcome)
        return body

    async def _query(self, document: object) -> dict[str, Any]:
        try:
            return await self._query_once(document)
        except aiohttp.ServerTimeoutError:
            raise
        except aiohttp.ClientConnectionError:
            return await self._query_once(document)

    def _query_once(self, document: object) -> Awaitable[dict[str, Any]]:
        if self._expected is None:
            return self._server.ask(document, (PACKAGE, RULE), _WITH_REVISION)
        return self._server.ask(document, (PACKAGE, SERVED), _STRICT)

    def _became(self, outcome: BreakerOutcome) -> None:
        before, now_ms = self._breaker, self._now_ms()
        after = step(before, outcome, settings=BREAKER, now_ms=now_ms)
        self._breaker = replace(after, retry_at_ms=min(after.retry_at_ms, now_ms + OPEN_MS_MAX))
        if before.state == "closed" and after.state != "closed":
            _log.error("the OPA server does not answer: every query is denied until it does")
        elif before.state != "closed" and after.state == "closed":
            _log.warning("the OPA server answers again")

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)


def _document(query: Query) -> object:
    """As JSON and back, so that both engines are given the same document, and refuse the same ones."""
    try:
        return msgspec.json.decode(msgspec.json.encode(query))
    except ValueError as error:
        raise Unanswered("invalid", "the query cannot be written as JSON") from error


def bundle_revision(body: Mapping[str, Any]) -> str:
    """Revisions of the bundles that an answer names, as one text; `unknown` when it names none."""
    provenance = cast("dict[str, Any]", body.get("provenance") or {})
    bundles = cast("dict[str, dict[str, str]]", provenance.get("bundles") or {})
    named = [f"{name}:{about.get('revision', '')}" for name, about in sorted(bundles.items())]
    text = next(iter(bundles.values())).get("revision", "") if len(named) == 1 else ",".join(named)
    return text[:REVISION_CHARS_MAX] or "unknown"
