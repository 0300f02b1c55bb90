"""Which limit each user has for a period, and from where: the `effective` report of the spend-limits API.

Of the limits on what a user spends by himself on every model; what a team or the organisation shares, and limits for
some models, come on top and are shown by `limits explain`. A user with several credentials is shown the limit that
holds for one with all their groups and teams. Of a user who is asked for by name it is not asked whether he is known:
the defaults are his from the first request on.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from gateway.core.decisions.decision import Principal
from gateway.core.money.accounts import accounts_of
from gateway.core.money.limits import LimitRow, Limits, kind_of
from gateway.core.money.stored_limits import StoredLimit, together
from gateway.core.money.windows import Window
from gateway.core.spend_api.amounts import CURRENCY, format_amount, format_cents
from gateway.core.spend_api.fields import TEXT_CHARS_MAX, Asked, Malformed, choices
from gateway.core.spend_api.limits import PAGE_ROWS, ROWS_MAX, user_series
from gateway.core.spend_api.settings import PERIODS

USERS_ASKED_MAX = 100
UNLIMITED = 2**62
"""More than anybody spends: stands for no limit where limits are compared."""

_WIDE_KINDS = frozenset({"org", "team", "group", "tag", "user"})


class EffectiveAsked(NamedTuple):
    """Whose limits are asked for. `after` is the key of the last user that was shown."""

    user_ids: tuple[str, ...]
    periods: tuple[Window, ...]
    by_spend: bool
    q: str | None
    limit: int
    after: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Person:
    """A user, and what requests with any of the user's credentials are charged to, down to the user."""

    user: str
    accounts: tuple[str, ...]
    groups: tuple[str, ...] = ()


class Row(NamedTuple):
    """A user's spend in a period."""

    person: Person
    period: Window
    spent_nanousd: int


def read_effective(pairs: Iterable[tuple[str, str]]) -> EffectiveAsked:
    """What a query asks for. Raises Malformed."""
    asked = Asked(pairs, {"user_ids", "period", "sort", "q", "limit", "page", "beta"})
    user_ids, periods, sort = asked.several("user_ids"), asked.several("period"), asked.one("sort")
    if len(user_ids) > USERS_ASKED_MAX:
        raise Malformed(f"user_ids[]: names more than {USERS_ASKED_MAX} users")
    if any(period not in PERIODS for period in periods):
        raise Malformed(f"period[]: Invalid enum value. Expected {choices(PERIODS)}")
    if sort not in (None, "spend_desc"):
        raise Malformed("sort: Invalid enum value. Expected 'spend_desc'")
    if sort is not None and len(periods) != 1:
        raise Malformed("sort=spend_desc requires exactly one period[]")
    q, page = asked.one("q"), asked.one("page")
    if q is not None and len(q) > TEXT_CHARS_MAX:
        raise Malformed(f"q: is longer than {TEXT_CHARS_MAX} characters")
    after = None if page is None else _read_cursor(page, by_spend=sort is not None)
    return EffectiveAsked(user_ids, periods or PERIODS, sort is not None, q, asked.limit(PAGE_ROWS, ROWS_MAX), after)


def people(
    principals: Iterable[Principal], teams: Mapping[str, str], stored: Iterable[StoredLimit], named: Sequence[str]
) -> list[Person]:
    """Everybody with a credential, a team or a limit of his own, or those who are `named`; by user."""
    known: dict[str, list[Principal]] = {user: [_unseen(user, team)] for user, team in teams.items()}
    for principal in principals:
        known.setdefault(principal.user, []).append(principal)
    for limit in stored:
        if limit.document["scope"]["type"] == "user":
            known.setdefault(limit.document["scope"]["user_id"], [])
    return [_person(user, known.get(user, [])) for user in (named or sorted(known))]


def select(found: Sequence[Person], asked: EffectiveAsked, spent: Mapping[str, int]) -> tuple[list[Person], str | None]:
    """A page of them in the order asked for, and the cursor of the next; `spent` is needed to sort by spend."""

    def key(person: Person) -> tuple[Any, ...]:
        return (-spent[person.user], person.user) if asked.by_spend else (person.user,)

    matching = [person for person in found if asked.q is None or asked.q.casefold() in person.user.casefold()]
    ordered = sorted(matching, key=key)
    rest = [person for person in ordered if asked.after is None or key(person) > asked.after]
    page = rest[: asked.limit]
    return page, _cursor(key(page[-1])) if len(rest) > len(page) else None


class Holding:
    """Finds the limit that holds: of the configuration and of operators, those that say `no limit` among them."""

    def __init__(self, configured: Limits, stored: Sequence[StoredLimit]) -> None:
        rows = together(configured, list(stored)).rows
        self._limits = Limits(tuple(replace(row, max=UNLIMITED) if row.max is None else row for row in rows))
        self._scopes: dict[str, dict[str, str]] = {limit.id: limit.document["scope"] for limit in stored}

    def row(self, person: Person, period: Window) -> LimitRow | None:
        """The limit on a user's spend; None: there is none, not even one that says so."""
        wanted = user_series(person.user, period)
        applied = self._limits.applied(person.accounts, None, ())
        return next((row for series, row in applied if series == wanted and row.guards), None)

    def wire(self, row: Row) -> dict[str, Any]:
        """A line of the report, as operators see it."""
        person, period, spent_nanousd = row
        limit = self.row(person, period)
        most = None if limit is None or limit.max == UNLIMITED else limit.max
        actor = {"user_id": person.user, "name": None, "email_address": None, "deleted": False}
        return {
            "scope": {"type": "user", "user_id": person.user},
            "groups": list(person.groups),
            "actor": {"type": "user_actor", **actor},
            "amount": format_amount(most, "cost"),
            "currency": CURRENCY,
            "period": period,
            "source": None if limit is None else self._source(limit),
            "spend_limit_id": None if limit is None or limit.source != "api" else limit.id,
            "period_to_date_spend": format_cents(spent_nanousd),
        }

    def _source(self, limit: LimitRow) -> dict[str, str]:
        return self._scopes[limit.id] if limit.source == "api" else {"type": "config", "id": limit.id}


def _person(user: str, principals: Sequence[Principal]) -> Person:
    found = [accounts_of(each, None, agent=None) for each in principals or [_unseen(user, None)]]
    groups = {group for each in principals for group in each.groups}
    accounts = dict.fromkeys(account for each in found for account in each if kind_of(account) in _WIDE_KINDS)
    return Person(user, tuple(accounts), tuple(sorted(groups)))


def _unseen(user: str, team: str | None) -> Principal:
    """A user without a credential."""
    return Principal(org="", team=team, user=user, credential="")


def _cursor(key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _read_cursor(text: str, *, by_spend: bool) -> tuple[Any, ...]:
    try:
        key: Any = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    types = [int, str] if by_spend else [str]
    if not isinstance(key, list) or [type(part) for part in cast("list[Any]", key)] != types:
        raise Malformed("page: is no next_page of this list")
    return tuple(cast("list[Any]", key))
