"""Limits as the spend-limits API keeps, shows and lists them. What a request says: `settings.py`. No sums.

A limit is one of its slot: account, for each of whom, meter, window, models, backends, and whether it guards or warns.
A second one for the slot replaces the first and keeps its id and age; so a scope and a period have one limit, however
strict it is and whatever its amount. A pool of a group that a replacement does not speak of stays as it was.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.core.money.limits import LimitRow, Series
from gateway.core.money.stored_limits import AuditedChange, LimitChange, StoredLimit
from gateway.core.money.windows import Window
from gateway.core.spend_api.amounts import CURRENCY, format_cents, parse_amount
from gateway.core.spend_api.fields import Asked, Malformed, choices
from gateway.core.spend_api.settings import SCOPES, Pool, Setting

UPSERT, DELETE = "spend_limit.upsert", "spend_limit.delete"
PAGE_ROWS = 20
AUDIT_ROWS = 100
ROWS_MAX = 1_000
AUDIT_DIGITS_MAX = 18

CREDENTIAL_WANTED = "missing or invalid admin credentials"
"""What this API's clients know whatever is wrong with a credential by."""

_limit_id = re.compile(r"spl_[0-9a-f]{32}")


class LimitUnknown(Exception):
    """There is no such limit."""


def request_id(decision_id: str) -> str:
    """`req_<32 hex>`, as this API names a request, of the `dec_<hex>` that everything else here calls it by."""
    return "req_" + decision_id.rpartition("_")[2].zfill(32)


def is_limit_id(text: str) -> bool:
    """Is it written as an id? Slots are not, so that no path can name one."""
    return _limit_id.fullmatch(text) is not None


def slot_of(row: LimitRow) -> str:
    """What there is one limit of."""
    return json.dumps([row.account, row.per, row.meter, row.window, row.models, row.backends, row.guards])


def upsert(setting: Setting, *, id: str, now_ms: int) -> LimitChange:
    """Set the limit of its slot; `id` is for a new one. The change raises Malformed."""

    def change(before: StoredLimit | None) -> StoredLimit:
        pool = setting.pool or _kept_pool(before)
        if pool is not None and not pool.paused and setting.amount is None:
            raise Malformed("amount: a pooled_budget that is not paused needs a per-member amount beside it")
        id_, created_ms = (id, now_ms) if before is None else (before.id, before.created_ms)
        row = replace(setting.row, id=id_)
        document = _document(setting, pool, id=id_, created_ms=created_ms, updated_ms=now_ms)
        return StoredLimit(id_, slot_of(row), created_ms, now_ms, document, (row, *_pool_rows(row, pool)))

    return change


def delete(before: StoredLimit | None) -> None:
    """Leave nothing of a limit. Raises LimitUnknown."""
    if before is None:
        raise LimitUnknown


def find(limits: Iterable[StoredLimit], id: str) -> StoredLimit:
    """The limit of that id. Raises LimitUnknown."""
    found = next((limit for limit in limits if limit.id == id), None)
    if found is None:
        raise LimitUnknown
    return found


def user_series(user: str, period: Window) -> Series:
    """What a user's own spend in a period is counted by."""
    return Series(f"user:{user}", "cost", period)


def pool_series(limit: StoredLimit) -> Series | None:
    """What the pool of a group's members is counted by, paused or not; None: the limit has no pool."""
    row = limit.rows[0]
    return row.series(row.account) if "pooled_budget" in limit.document else None


def shown(limit: StoredLimit, pool_nanousd: int | None) -> dict[str, Any]:
    """As operators see it, with what its pool has spent."""
    if pool_nanousd is None:
        return limit.document
    spent = {"currency": CURRENCY, "period_to_date_spend": format_cents(pool_nanousd)}
    return {**limit.document, "pooled_budget": {**limit.document["pooled_budget"], **spent}}


class ListAsked(NamedTuple):
    """Which limits are asked for: up to `limit` of some scopes, after or before one."""

    limit: int
    after_id: str | None
    before_id: str | None
    scope_types: tuple[str, ...]


class Page(NamedTuple):
    """Some of the limits, in the order of creation, and whether there are more in the direction asked for."""

    limits: Sequence[StoredLimit]
    has_more: bool
    next_page: str | None


def read_list(pairs: Iterable[tuple[str, str]]) -> ListAsked:
    """What a query asks for; `page` is what a page called `next_page`. Raises Malformed."""
    asked = Asked(pairs, {"limit", "after_id", "before_id", "page", "scope_type", "beta"})
    after_id, before_id, page = asked.one("after_id"), asked.one("before_id"), asked.one("page")
    if after_id is not None and before_id is not None:
        raise Malformed("after_id and before_id are mutually exclusive")
    if page is not None and (after_id is not None or before_id is not None):
        raise Malformed("page is mutually exclusive with after_id and before_id")
    scope_types = asked.several("scope_type")
    for name in scope_types:
        if name not in SCOPES:
            raise Malformed(f"scope_type: Invalid enum value. Expected {choices(SCOPES)}")
    return ListAsked(asked.limit(PAGE_ROWS, ROWS_MAX), after_id or page, before_id, scope_types)


def page_of(limits: Sequence[StoredLimit], asked: ListAsked) -> Page:
    """The page that is asked for, of all limits in the order of creation. Raises Malformed."""
    first, end = 0, len(limits)
    if asked.after_id is not None:
        first = _position(limits, "after_id", asked.after_id) + 1
    if asked.before_id is not None:
        end = _position(limits, "before_id", asked.before_id)
    wanted = [each for each in limits[first:end] if not asked.scope_types or _type_of(each) in asked.scope_types]
    has_more = len(wanted) > asked.limit
    if asked.before_id is not None:
        return Page(wanted[-asked.limit :], has_more, None)
    page = wanted[: asked.limit]
    return Page(page, has_more, page[-1].id if has_more else None)


def read_audit(pairs: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """After which change, and how many, a query asks for. Raises Malformed."""
    asked = Asked(pairs, {"limit", "after_id"})
    after_id = asked.one("after_id") or "0"
    if not (after_id.isascii() and after_id.isdigit() and len(after_id) <= AUDIT_DIGITS_MAX):
        raise Malformed("after_id: must be the id of an audit_event")
    return int(after_id), asked.limit(AUDIT_ROWS, ROWS_MAX)


def audit_event(change: AuditedChange) -> dict[str, Any]:
    """One change as operators see it."""
    return {
        "type": "audit_event",
        "id": str(change.number),
        "created_at": format_moment(change.author.at_ms),
        "actor": change.author.actor,
        "action": change.author.action,
        "target_id": change.target,
        "before": change.before,
        "after": change.after,
        "reason": change.author.reason,
    }


def format_moment(unix_ms: int) -> str:
    """RFC 3339 in UTC to the millisecond."""
    seconds, ms = divmod(unix_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def _document(setting: Setting, pool: Pool | None, *, id: str, created_ms: int, updated_ms: int) -> dict[str, Any]:
    row = setting.row
    document: dict[str, Any] = {
        "type": "spend_limit",
        "id": id,
        "created_at": format_moment(created_ms),
        "updated_at": format_moment(updated_ms),
        "scope": setting.scope,
        "amount": setting.amount,
        "currency": CURRENCY,
        "period": row.window,
        "is_enabled": True,
        "per": row.per,
        "meter": row.meter,
        "strict": row.strict,
        "on_reach": row.on_reach,
        "warn_at": list(row.warn_at),
        "models": list(row.models),
        "backends": list(row.backends),
    }
    return document if pool is None else {**document, "pooled_budget": {"amount": pool.amount, "paused": pool.paused}}


def _kept_pool(before: StoredLimit | None) -> Pool | None:
    written = None if before is None else before.document.get("pooled_budget")
    return None if written is None else Pool(written["amount"], written["paused"])


def _pool_rows(row: LimitRow, pool: Pool | None) -> tuple[LimitRow, ...]:
    if pool is None or pool.paused or pool.amount is None:
        return ()
    return (replace(row, per=None, max=parse_amount(pool.amount, "cost")),)


def _type_of(limit: StoredLimit) -> str:
    return limit.document["scope"]["type"]


def _position(limits: Sequence[StoredLimit], name: str, id: str) -> int:
    for position, limit in enumerate(limits):
        if limit.id == id:
            return position
    raise Malformed(f"{name}: there is no such spend limit")
