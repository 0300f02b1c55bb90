"""`/v1/organizations/spend_limits`: operators set, list and explain limits, in the shapes of Anthropic's admin API.

Reads and answers only: what a request means is `core/spend_api/`, what is kept is `ports.LimitStore`. That the path is
an operator's, and the request id of its answers, is the business of the middlewares.
"""

import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

from gateway.contract import SPEND_LIMITS_PATH
from gateway.core.decisions.decision import Principal
from gateway.core.money.limits import Limits
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.money.windows import Window
from gateway.core.spend_api.effective import Holding, Person, Row, people, read_effective, select
from gateway.core.spend_api.fields import BODY_BYTES_MAX, Asked, Malformed
from gateway.core.spend_api.limits import (
    CREDENTIAL_WANTED,
    DELETE,
    UPSERT,
    LimitUnknown,
    audit_event,
    delete,
    find,
    is_limit_id,
    page_of,
    pool_series,
    read_audit,
    read_list,
    shown,
    slot_of,
    upsert,
    user_series,
)
from gateway.core.spend_api.settings import REASON_CHARS_MAX, read_setting
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock, Ledger, LimitStore
from gateway.web.explain import People
from gateway.web.middlewares import CONTEXT

READ_ONLY_TAG = ("spend_limits", "read")
"""Tag of an operator's credential that may read here and not write."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class SpendLimits:
    """Where limits, spend and people are kept. `backends` are those that a limit may be for."""

    configured: Limits
    store: LimitStore
    ledger: Ledger
    people: People
    backends: Collection[str]
    clock: Clock

    async def set(self, body: bytes, principal: Principal) -> dict[str, object]:
        """Set a limit. Raises `Malformed`."""
        now_ms = self.clock.unix_ms()
        setting = read_setting(body, self.backends)
        change = upsert(setting, id=f"spl_{os.urandom(16).hex()}", now_ms=now_ms)
        author = Author(_actor(principal), now_ms, UPSERT, setting.reason)
        limit = await self.store.change_limit(slot_of(setting.row), change, author)
        assert limit is not None
        return (await self.shown([limit]))[0]

    async def delete(self, id: str, principal: Principal, reason: str | None) -> None:
        """Delete a limit. Raises `LimitUnknown`."""
        _require_id(id)
        author = Author(_actor(principal), self.clock.unix_ms(), DELETE, reason)
        await self.store.change_limit(id, delete, author)

    async def shown(self, limits: Sequence[StoredLimit]) -> list[dict[str, object]]:
        """Limits as operators see them."""
        series = {limit.id: each for limit in limits if (each := pool_series(limit)) is not None}
        used = await self.ledger.used(list(series.values()), self.clock.unix_ms()) if series else []
        spent = dict(zip(series, used, strict=True))
        return [shown(limit, spent.get(limit.id)) for limit in limits]

    async def listed(self, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
        """A page of the limits. Raises `Malformed`."""
        asked = read_list(pairs)
        page = page_of(await self.store.stored_limits(), asked)
        ids = [limit.id for limit in page.limits]
        return {
            "data": await self.shown(page.limits),
            "has_more": page.has_more,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "next_page": page.next_page,
        }

    async def effective(self, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
        """The limit of each user. Raises `Malformed`."""
        asked = read_effective(pairs)
        stored = await self.store.stored_limits()
        known = people(self.people.principals(), self.people.teams, stored, asked.user_ids)
        spent = await self._spent(known, asked.periods) if asked.by_spend else []
        page, next_page = select(known, asked, {row.person.user: row.spent_nanousd for row in spent})
        holding = Holding(self.configured, stored)
        rows = [holding.wire(row) for row in await self._spent(page, asked.periods)]
        return {"data": rows, "next_page": next_page}

    async def audit(self, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
        """Changes of limits, oldest first. Raises `Malformed`."""
        after, limit = read_audit(pairs)
        changes = await self.store.limit_audit(after, limit + 1)
        return {"data": [audit_event(each) for each in changes[:limit]], "has_more": len(changes) > limit}

    async def _spent(self, found: Sequence[Person], periods: Sequence[Window]) -> list[Row]:
        wanted = [(person, period) for person in found for period in periods]
        series = [user_series(person.user, period) for person, period in wanted]
        used = await self.ledger.used(series, self.clock.unix_ms())
        return [Row(person, period, spent) for (person, period), spent in zip(wanted, used, strict=True)]


def build_spend_limit_routes(limits: SpendLimits) -> list[web.RouteDef]:
    """All of its paths."""

    async def create(request: web.Request) -> web.Response:
        return _json(await limits.set(await _read_body(request), _writer(request)))

    async def list_all(request: web.Request) -> web.Response:
        return _json(await limits.listed(list(request.query.items())))

    async def show(request: web.Request) -> web.Response:
        limit = find(await limits.store.stored_limits(), request.match_info["id"])
        return _json((await limits.shown([limit]))[0])

    async def remove(request: web.Request) -> web.Response:
        id, reason = request.match_info["id"], Asked(request.query.items(), {"reason"}).one("reason")
        if reason is not None and len(reason) > REASON_CHARS_MAX:
            raise Malformed(f"reason: String must contain at most {REASON_CHARS_MAX} character(s)")
        await limits.delete(id, _writer(request), reason)
        return _json({"type": "spend_limit_deleted", "id": id})

    async def effective(request: web.Request) -> web.Response:
        return _json(await limits.effective(list(request.query.items())))

    async def audit(request: web.Request) -> web.Response:
        return _json(await limits.audit(list(request.query.items())))

    return [
        web.get(SPEND_LIMITS_PATH, _answering(list_all)),
        web.post(SPEND_LIMITS_PATH, _answering(create)),
        web.get(f"{SPEND_LIMITS_PATH}/effective", _answering(effective)),
        web.get(f"{SPEND_LIMITS_PATH}/audit", _answering(audit)),
        web.get(f"{SPEND_LIMITS_PATH}/{{id}}", _answering(show)),
        web.delete(f"{SPEND_LIMITS_PATH}/{{id}}", _answering(remove)),
    ]


def _answering(handler: Handler) -> Handler:
    """Turn the core's complaints into the reasons that have an answer; keep what is read out of caches.

    That an operator asks is checked again: no mistake in the order of the middlewares shall open these paths.
    """

    async def answer(request: web.Request) -> web.Response:
        principal = request[CONTEXT].principal
        if principal is None or not principal.operator:
            raise GatewayError(Reason.CREDENTIAL_INVALID, CREDENTIAL_WANTED)
        try:
            response = await handler(request)
        except Malformed as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        except LimitUnknown:
            raise GatewayError(Reason.NOT_FOUND, "spend limit not found") from None
        if request.method == "GET":
            response.headers["Cache-Control"] = "no-store"
        return response

    return answer


async def _read_body(request: web.Request) -> bytes:
    too_large = GatewayError(Reason.BODY_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes")
    if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
        raise too_large
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise too_large
    return body


def _writer(request: web.Request) -> Principal:
    principal = request[CONTEXT].principal
    assert principal is not None
    if READ_ONLY_TAG in principal.tags.items():
        raise GatewayError(Reason.FORBIDDEN, "requires write:spend_limits")
    return principal


def _actor(principal: Principal) -> str:
    return f"admin-key:{principal.credential}"


def _require_id(id: str) -> None:
    if not is_limit_id(id):
        raise LimitUnknown


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
