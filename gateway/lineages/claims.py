"""Ids that clients claim: read from headers, bound to the credential that first used them, claimed in the store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.context import RequestContext
from gateway.contract import (
    AGENT_HEADERS,
    HEADER_VALUE_CHARS_MAX,
    PARENT_AGENT_HEADERS,
    RUN_HEADER,
    SESSION_HEADERS,
)
from gateway.core.agents.lineage import INFERRED_PREFIX, AgentNode, Claimed, Tree, first_of
from gateway.errors import Reason, Refused
from gateway.ports import LineageStore

TellRefused = Callable[[RequestContext, str, str], None]
"""Told of a refused claim: the request, what it claimed, and the credential that holds it."""


class Ids(NamedTuple):
    """What the headers of one request say."""

    session: str | None
    agent: str | None
    parent: str | None
    run: str | None


def read_ids(ctx: RequestContext) -> Ids:
    """Raises `Refused(BODY_MALFORMED)` for a header that can be no id."""
    session = _id(ctx, SESSION_HEADERS)
    if session is not None and session.startswith(INFERRED_PREFIX):
        message = f"{SESSION_HEADERS[0]} must not begin with '{INFERRED_PREFIX}', as the sessions do that are inferred"
        raise Refused(Reason.BODY_MALFORMED, message)
    return Ids(
        session=session,
        agent=_id(ctx, AGENT_HEADERS),
        parent=_id(ctx, PARENT_AGENT_HEADERS),
        run=_id(ctx, (RUN_HEADER,)),
    )


def _id(ctx: RequestContext, names: tuple[str, ...]) -> str | None:
    value = first_of(ctx.headers, names)
    if value is not None and (len(value) > HEADER_VALUE_CHARS_MAX or not value.isprintable() or "/" in value):
        message = f"header {names[0]} must be at most {HEADER_VALUE_CHARS_MAX} printable characters without '/'"
        raise Refused(Reason.BODY_MALFORMED, message)
    return value


def credential_of(ctx: RequestContext) -> str:
    """Whose request it is."""
    assert ctx.principal is not None
    return ctx.principal.credential


@dataclass(slots=True)
class _Claiming:
    """One agent being claimed in the store, and what came of it."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    error: Refused | None = None


@dataclass(slots=True)
class _Round:
    """The claims of one session that are under way together."""

    under_way: int = 0
    overlapped: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Claims:
    """Who holds which id, and what the store knows of it."""

    def __init__(
        self, tree: Tree, store: LineageStore, tell_refused: TellRefused, is_retired: Callable[[str], bool]
    ) -> None:
        self._tree = tree
        self._store = store
        self._tell_refused = tell_refused
        self._is_retired = is_retired
        self._claiming: dict[str, _Claiming] = {}
        self._rounds: dict[str, _Round] = {}

    def require_own(self, ctx: RequestContext, what: str, credential: str, user: str) -> None:
        """Only a retired credential of the same user leaves to others what it used first. Raises SESSION_TAKEN."""
        assert ctx.principal is not None
        if credential == ctx.principal.credential:
            return
        is_same = user == ctx.principal.user
        if is_same and self._is_retired(credential):
            return
        self._tell_refused(ctx, what, credential)
        whose = "another credential of yours" if is_same else "another user"
        message = f"{what} belongs to {whose}: continue it with the credential that began it, or start a new one"
        raise Refused(Reason.SESSION_TAKEN, message)

    async def settled(self, ctx: RequestContext, session_id: str) -> None:
        """Whose a session is that is just being claimed for another credential is for the store to say."""
        while (under_way := self._rounds.get(session_id)) is not None:
            session = self._tree.session(session_id)
            if session is None or session.claimed or session.credential == credential_of(ctx):
                return
            await under_way.done.wait()

    async def claim(self, ctx: RequestContext, node: AgentNode) -> bool:
        """Claim an agent in the store. False: somebody else was at it, and what came of that is to be looked up anew.

        Raises `Refused` (SESSION_TAKEN, STORE_UNAVAILABLE), to all who wait; the agent has left the tree then.
        """
        under_way = self._claiming.get(node.key)
        if under_way is not None:
            await under_way.done.wait()
            if under_way.error is not None:
                raise under_way.error
            return False
        claiming = self._claiming[node.key] = _Claiming()
        together = self._rounds.setdefault(node.session.id, _Round())
        together.overlapped |= together.under_way > 0
        together.under_way += 1
        try:
            claimed = await self._ask_store(ctx, node)
            self._tree.merge(node, claimed, alone=not together.overlapped)
            return True
        except BaseException as error:
            claiming.error = error if isinstance(error, Refused) else None
            self._tree.remove(node)
            raise
        finally:
            together.under_way -= 1
            if not together.under_way:
                del self._rounds[node.session.id]
                together.done.set()
            del self._claiming[node.key]
            claiming.done.set()

    async def _ask_store(self, ctx: RequestContext, node: AgentNode) -> Claimed:
        claimed = await self._store.claim_agent(node.record())
        if claimed.credential != node.session.credential:
            self.require_own(ctx, f"session {node.session.id}", claimed.credential, claimed.user)
            node.session.credential = claimed.credential  # in records it stays the first one's
            claimed = await self._store.claim_agent(node.record())
        return claimed
