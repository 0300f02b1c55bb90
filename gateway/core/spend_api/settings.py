"""What a request to set a spend limit says: `{scope, amount, period, ...}` as a limit on an account. Nothing is kept.

The scopes of the peer's API are what they are there: `organization` and `rbac_group` are defaults for each user. The
wider ones are one pool, unless `per` says for each of whom they are.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, get_args

from gateway.core.money.limits import METERS, PER_WITHIN, WARN_AT, LimitRow, Meter, OnReach
from gateway.core.money.windows import CALENDAR_WINDOWS, Window, is_window
from gateway.core.spend_api.amounts import CURRENCY, AmountInvalid, format_amount, parse_amount
from gateway.core.spend_api.fields import TEXT_CHARS_MAX, Fields, choices, decode_object

PERIODS: tuple[Window, ...] = ("daily", "weekly", "monthly")
"""The windows that the peer's clients know."""
ON_REACH: tuple[OnReach, ...] = get_args(OnReach)
WARN_AT_MAX = 1_000
REASON_CHARS_MAX = 500
KEYS = frozenset(
    "scope amount period currency pooled_budget per meter strict on_reach warn_at models backends reason".split()
)
POOL_KEYS = frozenset({"amount", "paused", "currency"})
_OWNERLESS = frozenset({"org", "group", "tag"})
"""Kinds of pools over which no default stands, so that there is nothing to be excepted from."""
_windows = (*PERIODS, *(window for window in CALENDAR_WINDOWS if window not in PERIODS))


class Scope(NamedTuple):
    """What a type of scope stands for: an account of `kind`, named by `key`, for each `per` in it."""

    kind: str
    key: str | None
    per: str | None = None


SCOPES = {
    "user": Scope("user", "user_id"),
    "rbac_group": Scope("group", "rbac_group_id", per="user"),
    "organization": Scope("org", None, per="user"),
    "organization_pool": Scope("org", None),
    "team": Scope("team", "team_id"),
    "tag": Scope("tag", "tag"),
    "credential": Scope("credential", "credential_id"),
    "session": Scope("session", "session_id"),
    "run": Scope("run", "run_id"),
    "agent": Scope("agent", "agent_id"),
}


@dataclass(frozen=True, slots=True)
class Pool:
    """What the members of a group may spend together. `amount` is as it was written, None only while it is paused."""

    amount: str | None
    paused: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """A limit to be set. `row` has no id yet; `scope` and `amount` are as they were written."""

    scope: dict[str, str]
    amount: str | None
    row: LimitRow
    pool: Pool | None
    """None: as it was before."""
    reason: str | None


def read_setting(body: bytes, backends: Collection[str]) -> Setting:
    """A setting of the body; `backends` are those that a limit may be for. Raises Malformed."""
    fields = Fields(decode_object(body))
    fields.require_known(KEYS)
    scope, account, usual = _read_scope(fields)
    kind = SCOPES[scope["type"]].kind
    meter: Meter = fields.choice("meter", METERS, "cost")
    amount, most = _read_amount(fields, meter)
    window = _read_window(fields, meter)
    _read_currency(fields)
    per = _read_per(fields, kind, usual)
    if amount is None and per is None and kind in _OWNERLESS:
        raise fields.wrong("amount", "null has no meaning for a pool that nothing wider limits; delete the limit")
    on_reach: OnReach = fields.choice("on_reach", ON_REACH, "clamp")
    row = LimitRow(
        account=account,
        max=most,
        window=window,
        meter=meter,
        per=per,
        strict=fields.flag("strict"),
        on_reach=on_reach,
        warn_at=fields.percents("warn_at", WARN_AT, WARN_AT_MAX),
        models=fields.texts("models"),
        backends=_read_backends(fields, backends),
        source="api",
    )
    return Setting(scope, amount, row, _read_pool(fields, scope, row), _read_reason(fields))


def _read_scope(fields: Fields) -> tuple[dict[str, str], str, str | None]:
    """The scope as written, its account, and for each of whom it is unless `per` says otherwise."""
    inner = fields.inner("scope")
    name = next((name for name in SCOPES if name == inner.value("type")), None)
    if name is None:
        raise inner.wrong("type", f"Invalid discriminator value. Expected {choices(SCOPES)}")
    kind, key, per = SCOPES[name]
    inner.require_known(("type",) if key is None else ("type", key))
    if key is None:
        return {"type": name}, kind, per
    id = inner.text(key, 2 * TEXT_CHARS_MAX if kind == "agent" else TEXT_CHARS_MAX)
    if kind == "tag" and not all(id.partition("=")):
        raise inner.wrong(key, "must be <name>=<value>")
    if kind == "agent" and not all(id.partition("/")):
        raise inner.wrong(key, "must be <session>/<agent>")
    return {"type": name, key: id}, f"{kind}:{id}", per


def _read_amount(fields: Fields, meter: Meter) -> tuple[str | None, int | None]:
    if fields.is_null("amount"):
        return None, None
    try:
        most = parse_amount(fields.any_text("amount"), meter)
    except AmountInvalid as error:
        raise fields.wrong("amount", str(error)) from None
    return format_amount(most, meter), most


def _read_window(fields: Fields, meter: Meter) -> Window:
    if meter == "active_requests":
        if "period" in fields and fields.value("period") != "total":
            raise fields.wrong("period", "must be 'total' for active_requests, which are counted as they run")
        return "total"
    written = fields.value("period") if "period" in fields else "monthly"
    if not isinstance(written, str) or not is_window(written):
        raise fields.not_among("period", (*_windows, "rolling <n>m|h|d"))
    return written


def _read_currency(fields: Fields) -> None:
    if "currency" in fields and fields.value("currency") != CURRENCY:
        raise fields.wrong("currency", f'Invalid literal value, expected "{CURRENCY}"')


def _read_per(fields: Fields, kind: str, usual: str | None) -> str | None:
    if fields.is_null("per"):
        return None
    if "per" not in fields:
        return usual
    if kind not in PER_WITHIN:
        raise fields.wrong("per", f"there is nothing within an {kind} that could have a limit each")
    return fields.choice("per", PER_WITHIN[kind], "")


def _read_backends(fields: Fields, known: Collection[str]) -> tuple[str, ...]:
    backends = fields.texts("backends")
    for backend in backends:
        if backend not in known:
            problem = f"Invalid enum value. Expected {choices(sorted(known))}, received '{backend}'"
            raise fields.wrong("backends", problem)
    return backends


def _read_reason(fields: Fields) -> str | None:
    return fields.text("reason", REASON_CHARS_MAX) if "reason" in fields and not fields.is_null("reason") else None


def _read_pool(fields: Fields, scope: dict[str, str], row: LimitRow) -> Pool | None:
    if "pooled_budget" not in fields or fields.is_null("pooled_budget"):
        return None
    if scope["type"] != "rbac_group" or row.per != "user":
        raise fields.wrong("pooled_budget", "only a per-member limit of scope.type 'rbac_group' has one")
    if row.window != "monthly" or row.meter != "cost":
        raise fields.wrong("pooled_budget", "only a monthly limit on cost has one")
    inner = fields.inner("pooled_budget")
    inner.require_known(POOL_KEYS)
    _read_currency(inner)
    paused = not inner.is_null("paused") and inner.flag("paused")
    amount = _read_amount(inner, "cost")[0] if "amount" in inner or not paused else None
    if amount is None and not paused:
        raise inner.wrong("amount", "a pool that is not paused needs an amount")
    return Pool(amount, paused)
