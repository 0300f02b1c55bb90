"""Which limits and fuses the next request of somebody meets, and the one that stops it first. Asks no store; no sums.

Kinds of account that are neither named nor known are explained by their default, as if nothing had been spent on it:
that is what a first session, or a new user, would meet.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.budgets import AccountView, LimitRow, Limits, format_minute
from gateway.core.decision import Principal
from gateway.core.fuse import USED_METERS, FuseReading, FuseRecord, amount_text, message
from gateway.core.lineage import SessionNode
from gateway.core.pricing import format_usd
from gateway.core.windows import window_end_ms

ASKED_METERS = frozenset({"requests"}) | USED_METERS
"""Fuses of these stop the next request once the meter stands at the limit; the others once it is above."""


class Contradiction(ValueError):
    """What was asked for cannot be one request."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Whose next request is meant; `agent` is `<session>/<agent>`."""

    user: str | None = None
    team: str | None = None
    credential: str | None = None
    session: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """Everybody with a credential, the team of each configured user, and the sessions that have been seen."""

    principals: Sequence[Principal] = ()
    teams: Mapping[str, str] = field(default_factory=dict[str, str])
    session: Callable[[str], SessionNode | None] = lambda _: None


class Subject(msgspec.Struct, frozen=True):
    """Who and what the next request is, as far as it is known; `agent` without its session."""

    user: str | None
    team: str | None
    credential: str | None
    session: str | None
    agent: str | None

    @property
    def accounts(self) -> tuple[str, ...]:
        """What it is charged to, widest first; a bare kind where it is not known which one."""
        key = None if self.agent is None else f"{self.session}/{self.agent}"
        named = (("user", self.user), ("credential", self.credential), ("session", self.session), ("agent", key))
        team = () if self.user is not None and self.team is None else (_account("team", self.team),)
        return ("org", *team, *(_account(kind, id) for kind, id in named))


class Standing(msgspec.Struct, frozen=True):
    """One limit as the next request meets it. `account` is a bare kind for one on which nothing was spent yet."""

    account: str
    window: str
    limit_nanousd: int
    strict: bool
    spent_nanousd: int
    held_nanousd: int
    left_nanousd: int
    resets_at_ms: int | None
    entry: int | None
    """Position in `budgets` of the configuration, from 0."""
    entry_account: str
    """The account as that entry writes it."""
    default: bool
    """The entry is of a kind, and holds for each account of it."""


class Explanation(msgspec.Struct, frozen=True):
    """The answer: limits with the least left first, so that the first bites first; `notes` say what was assumed."""

    subject: Subject
    sentence: str
    limits: tuple[Standing, ...]
    fuses: tuple[FuseReading, ...]
    notes: tuple[str, ...]


def identify(asked: Asked, known: Known) -> tuple[Subject, tuple[str, ...]]:
    """Whose next request it is, completed by what is known, and what had to be assumed.

    Raises:
        Contradiction: the parts belong to different people or sessions.
    """
    notes: list[str] = []
    session, agent = _conversation(asked, notes)
    seen = None if session is None else known.session(session)
    if session is not None and (seen is None or agent not in seen.agents):
        unseen = f"session {session}" if seen is None else f"agent {session}/{agent}"
        notes.append(f"{unseen} has not been seen: explained as what would hold for its first request")
    principal = _principal(asked, known, seen, notes)
    user = asked.user or (principal.user if principal else seen.user if seen else None)
    if principal is not None and user != principal.user:
        raise Contradiction(f"credential {principal.credential} is of user {principal.user}, not of {user}")
    if seen is not None and user is not None and user != seen.user:
        raise Contradiction(f"session {seen.id} belongs to user {seen.user}: a request of {user} in it is refused")
    team = _team(asked, known, principal, user)
    if user is not None and team is None:
        notes.append(f"user {user} is in no team")
    if asked.team and asked.team not in {*known.teams.values(), *(each.team for each in known.principals)}:
        notes.append(f"team {asked.team} is not known here: explained as what would hold for it")
    credential = asked.credential or (principal.credential if principal else None)
    return Subject(user, team, credential, session, agent), tuple(notes)


def stand(accounts: Iterable[str], limits: Limits, views: Iterable[AccountView], now_ms: int) -> tuple[Standing, ...]:
    """Every limit on `accounts` with the least left first; among equals the strict one, which holds more.

    `views` are the ledger's, of those accounts that are not bare kinds.
    """
    seen = {(view.account, view.window): view for view in views}
    found: list[Standing] = []
    for account in accounts:
        for row in limits.for_account(account):
            view = seen.get((account, row.window)) or _untouched(account, row, now_ms)
            left = max(0, row.limit_nanousd - view.spent_nanousd - view.held_nanousd)
            found.append(
                Standing(
                    account=account,
                    window=row.window,
                    limit_nanousd=row.limit_nanousd,
                    strict=row.strict,
                    spent_nanousd=view.spent_nanousd,
                    held_nanousd=view.held_nanousd,
                    left_nanousd=left,
                    resets_at_ms=view.resets_at_ms,
                    entry=row.entry,
                    entry_account=row.account,
                    default=row.account != "org" and ":" not in row.account,
                )
            )
    return tuple(sorted(found, key=lambda each: (each.left_nanousd, not each.strict)))


def sentence(limits: Sequence[Standing], fuses: Sequence[FuseReading], blown: FuseRecord | None) -> str:
    """What stops the next request, or will stop one first. `limits` as `stand` orders them."""
    if blown is not None:
        return message(blown)
    about_to = next((each for each in fuses if _blows_next(each)), None)
    if about_to is not None:
        value, limit = amount_text(about_to.meter, about_to.value or 0), amount_text(about_to.meter, about_to.limit)
        holder = f"{about_to.scope} {about_to.holder}"
        return f"the next request blows the {about_to.meter} fuse of {holder}, which stands at {value} of {limit}"
    if not limits:
        return "no budget limits this request: what it costs is counted, and never refused"
    first = limits[0]
    account = first.account if first.account == "org" or ":" in first.account else f"a new {first.account}"
    limit = f"the {first.window} limit of {format_usd(first.limit_nanousd)} of {account}"
    used = f"{format_usd(first.spent_nanousd)} spent and {format_usd(first.held_nanousd)} held by running requests"
    reset = None if first.resets_at_ms is None else f"it resets at {format_minute(first.resets_at_ms)}"
    if first.left_nanousd == 0:
        freed = "running requests give back what they hold, or " if first.spent_nanousd < first.limit_nanousd else ""
        until = freed + (reset or "an operator raises it")
        return f"{limit} is used up: {used}; requests are refused until {until}"
    return f"{limit} bites first: {format_usd(first.left_nanousd)} left, {used}; {reset or 'it does not reset'}"


def _account(kind: str, id: str | None) -> str:
    return kind if id is None else f"{kind}:{id}"


def _untouched(account: str, row: LimitRow, now_ms: int) -> AccountView:
    resets_at_ms = window_end_ms(row.window, now_ms)
    return AccountView(account, row.window, row.limit_nanousd, 0, 0, row.strict, resets_at_ms)


def _blows_next(fuse: FuseReading) -> bool:
    if fuse.value is None:
        return False
    return fuse.value >= fuse.limit if fuse.meter in ASKED_METERS else fuse.value > fuse.limit


def _conversation(asked: Asked, notes: list[str]) -> tuple[str | None, str | None]:
    """Session and agent; a request that names no agent is the main agent's."""
    if asked.agent is None:
        if asked.session is not None:
            notes.append(f"no agent is named: the main agent of session {asked.session} is meant")
        return asked.session, None if asked.session is None else MAIN_AGENT
    session, _, agent = asked.agent.partition("/")
    if not session or not agent or "/" in agent:
        raise Contradiction(f"agent {asked.agent} is not of the form <session>/<agent>")
    if asked.session not in (None, session):
        raise Contradiction(f"agent {asked.agent} is not of session {asked.session}")
    return session, agent


def _principal(asked: Asked, known: Known, seen: SessionNode | None, notes: list[str]) -> Principal | None:
    """Whoever has the named credential, else the only one of the named user, else the one that began the session."""
    if asked.credential is not None:
        found = next((each for each in known.principals if each.credential == asked.credential), None)
        if found is None:
            notes.append(f"credential {asked.credential} is not known here: explained as what would hold for it")
        return found
    user = asked.user or (seen.user if seen else None)
    if user is None:
        return None
    own = [each for each in known.principals if each.user == user]
    if not own and user not in known.teams:
        notes.append(f"user {user} is not known here: explained as what would hold for it")
    if len(own) > 1:
        began = [each for each in own if seen is not None and each.credential == seen.credential]
        if not began:
            notes.append(f"user {user} has {len(own)} credentials: name one to see its own limits")
        own = began
    return own[0] if own else None


def _team(asked: Asked, known: Known, principal: Principal | None, user: str | None) -> str | None:
    if principal is None:
        return asked.team or (known.teams.get(user) if user is not None else None)
    if asked.team not in (None, principal.team):
        charged = f"charged to team {principal.team}" if principal.team else "charged to no team"
        raise Contradiction(f"credential {principal.credential} is {charged}, not to {asked.team}")
    return principal.team
