"""The operator paths that show limits: as they stand, and what a next request meets. The reasoning is `core/`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiohttp import web

from gateway.boards.fuseboard import holders_of, meters_of
from gateway.contract import ADMIN_PREFIX, HEADER_VALUE_CHARS_MAX
from gateway.core.agents.lineage import Tree
from gateway.core.decisions.decision import Principal
from gateway.core.fuses.fuse import FuseBox, FuseReading, FuseRecord, Scope, strictest
from gateway.core.inquiries.explain import Explanation, sentence
from gateway.core.inquiries.subject import Asked, Contradiction, Known, Subject, asked_about, identify
from gateway.core.money.budgets import LimitView
from gateway.core.money.standing import Standing, by_bite, listed, tell
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock, Ledger

REPEATED = frozenset({"group", "tag"})
"""What may be asked of several at once."""
REPEATED_MAX = 64
"""Groups and tags of one question."""


class People(Protocol):
    """Everybody who may connect now, and the team of each configured user."""

    def principals(self) -> tuple[Principal, ...]: ...
    @property
    def teams(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Explainer:
    """Where limits, money, fuses, sessions and people are kept."""

    ledger: Ledger
    fuses: FuseBox
    tree: Tree
    people: People
    clock: Clock

    async def standings(self, account: str | None) -> tuple[Standing, ...]:
        """Every limit that is known, or those of one account. Raises `core.inquiries.subject.Contradiction`."""
        now_ms = self.clock.unix_ms()
        if account is None:
            return tell(listed(self.ledger.views(now_ms)))
        subject, _ = identify(asked_about(account), self._known())
        accounts = tuple(dict.fromkeys((*subject.accounts, account)))
        views = await self.ledger.standing(accounts, now_ms)
        return tell(listed(view for view in views if view.series.account == account))

    async def explain(self, asked: Asked) -> Explanation:
        """What the next request of `asked` meets. Raises `core.inquiries.subject.Contradiction`."""
        now_ms = self.clock.unix_ms()
        subject, notes = identify(asked, self._known())
        limits: Sequence[LimitView] = by_bite(await self.ledger.standing(subject.accounts, now_ms))
        fuses, blown = self._fuses(subject, now_ms)
        return Explanation(subject, sentence(limits, fuses, blown), tell(limits), tuple(fuses), notes)

    def _known(self) -> Known:
        return Known(self.people.principals(), self.people.teams, self.tree.session)

    def _fuses(self, subject: Subject, now_ms: int) -> tuple[list[FuseReading], FuseRecord | None]:
        """The fuses of the agent, its run, session and user, and the blown one that the agent would be told of."""
        fuses: list[FuseReading] = []
        blown: list[FuseRecord] = []
        for scope, holder, meters in self._holders(subject, now_ms):
            fuses += self.fuses.readings(scope, holder, meters)
            blown += filter(None, (self.fuses.blown(scope, holder),))
        return fuses, strictest(blown)

    def _holders(self, subject: Subject, now_ms: int) -> Iterator[tuple[Scope, str, Mapping[str, int]]]:
        """Of an agent that has not been seen, what is known of its session and user."""
        session = self.tree.session(subject.session) if subject.session is not None else None
        agent = session.agents.get(subject.agent or "") if session is not None else None
        if agent is not None:
            for scope, holder in holders_of(agent):
                yield scope, holder, meters_of(agent, scope, now_ms)
            return
        if subject.session is not None and subject.agent is not None:
            yield "agent", f"{subject.session}/{subject.agent}", {}
            yield "session", subject.session, session.meters(now_ms) if session is not None else {}
        if subject.user is not None:
            yield "user", subject.user, self.tree.user_meters(subject.user, now_ms)


def build_explain_routes(explainer: Explainer) -> list[web.RouteDef]:
    """`GET /limits` and `GET /limits/explain` below the operators' prefix."""

    async def limits(request: web.Request) -> web.Response:
        try:
            standings = await explainer.standings(_account(request))
        except Contradiction as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        return _json({"limits": standings})

    async def explain(request: web.Request) -> web.Response:
        try:
            explanation = await explainer.explain(_asked(request))
        except Contradiction as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        return _json(explanation)

    return [web.get(f"{ADMIN_PREFIX}/limits", limits), web.get(f"{ADMIN_PREFIX}/limits/explain", explain)]


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _account(request: web.Request) -> str | None:
    """The only thing that `/limits` may be asked."""
    for name, value in request.query.items():
        if name != "account" or len(request.query.getall(name)) > 1:
            raise GatewayError(Reason.BODY_MALFORMED, f"{name[:32]}: must be account, once at most")
        _check_text(name, value)
    return request.query.get("account")


def _asked(request: web.Request) -> Asked:
    """Strict about names: a mistyped one would explain somebody else's limits."""
    known = Asked.__struct_fields__
    asked: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        if name not in known or len(values) > (REPEATED_MAX if name in REPEATED else 1):
            rule = f"must be one of {', '.join(known)}, each once at most ({' and '.join(sorted(REPEATED))} repeatedly)"
            raise GatewayError(Reason.BODY_MALFORMED, f"{name[:32]}: {rule}")
        for value in values:
            _check_text(name, value)
        asked[name] = tuple(values) if name in REPEATED else values[0]
    return Asked(**asked)


def _check_text(name: str, value: str) -> None:
    if not value or not value.isprintable() or len(value) > 2 * HEADER_VALUE_CHARS_MAX:
        raise GatewayError(Reason.BODY_MALFORMED, f"{name}: must be printable, and neither empty nor that long")
