"""The operator path that explains what a next request meets. Reads only; the reasoning is `core/explain.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec
from aiohttp import web

from gateway.contract import ADMIN_PREFIX, HEADER_VALUE_CHARS_MAX
from gateway.core.budgets import Limits
from gateway.core.decision import Principal
from gateway.core.explain import Asked, Contradiction, Explanation, Known, Subject, identify, sentence, stand
from gateway.core.fuse import FuseBox, FuseReading, FuseRecord, Scope
from gateway.core.lineage import Tree
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock, Ledger


class People(Protocol):
    """Everybody who may connect now, and the team of each configured user."""

    def principals(self) -> tuple[Principal, ...]: ...
    @property
    def teams(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Explainer:
    """Where limits, money, fuses, sessions and people are kept."""

    limits: Limits
    ledger: Ledger
    fuses: FuseBox
    tree: Tree
    people: People
    clock: Clock

    def explain(self, asked: Asked) -> Explanation:
        """What the next request of `asked` meets. Raises `core.explain.Contradiction`."""
        now_ms = self.clock.unix_ms()
        known = Known(self.people.principals(), self.people.teams, self.tree.session)
        subject, notes = identify(asked, known)
        named = [account for account in subject.accounts if account == "org" or ":" in account]
        limits = stand(subject.accounts, self.limits, self.ledger.views(named, now_ms), now_ms)
        fuses, blown = self._fuses(subject, now_ms)
        return Explanation(subject, sentence(limits, fuses, blown), limits, tuple(fuses), notes)

    def _fuses(self, subject: Subject, now_ms: int) -> tuple[list[FuseReading], FuseRecord | None]:
        """The fuses of the agent, then those of its session, and the blown one that the agent would be told of."""
        if subject.session is None or subject.agent is None:
            return [], None
        session = self.tree.session(subject.session)
        agent = session.agents.get(subject.agent) if session else None
        holders: tuple[tuple[Scope, str, Mapping[str, int]], ...] = (
            ("agent", f"{subject.session}/{subject.agent}", agent.meters(now_ms) if agent else {}),
            ("session", subject.session, session.meters(now_ms) if session else {}),
        )
        fuses = [each for scope, holder, meters in holders for each in self.fuses.readings(scope, holder, meters)]
        blown = (self.fuses.blown(scope, holder) for scope, holder, _ in holders)
        return fuses, next((each for each in blown if each is not None), None)


def build_explain_routes(explainer: Explainer) -> list[web.RouteDef]:
    """`GET /limits/explain` below the operators' prefix."""

    async def explain(request: web.Request) -> web.Response:
        try:
            explanation = explainer.explain(_asked(request))
        except Contradiction as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        return web.Response(body=msgspec.json.encode(explanation), content_type="application/json")

    return [web.get(f"{ADMIN_PREFIX}/limits/explain", explain)]


def _asked(request: web.Request) -> Asked:
    """Strict about names: a mistyped one would explain somebody else's limits."""
    for name, value in request.query.items():
        if name not in Asked.__struct_fields__ or len(request.query.getall(name)) > 1:
            names = ", ".join(Asked.__struct_fields__)
            raise GatewayError(Reason.BODY_MALFORMED, f"{name[:32]}: must be one of {names}, each once at most")
        if not value or not value.isprintable() or len(value) > 2 * HEADER_VALUE_CHARS_MAX:
            raise GatewayError(Reason.BODY_MALFORMED, f"{name}: must be printable, and neither empty nor that long")
    return Asked(**request.query)
