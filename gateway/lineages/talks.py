"""Where a request belongs: by its headers, or by its conversation when they do not say. Nothing is counted here."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT
from gateway.core.agents.conversations import Conversations, Holder, read_opening
from gateway.core.agents.lineage import AgentNode, PendingSpawn, SessionNode, Tree, inferred_session
from gateway.core.wire.body import Ask, latest_messages
from gateway.lineages.claims import Ids, credential_of

TALKING_MAX = 20_000
"""Credentials whose inferred sessions are remembered."""
TALKS_MAX = 32
"""Of one credential, the last ones: a conversation may be that of an agent that one of these asked for."""
OPENINGS_MAX = 20_000
"""Beginnings of sessions by which another session is known as a fork."""
OPENING_MESSAGES_MAX = 8
"""How many messages of a new session are held against those."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the tree a request belongs."""

    session: str
    agent: str
    parent: str | None
    digest: bytes | None = None
    """Of the whole conversation; set when the session is inferred."""


class Talks:
    """What is remembered of conversations."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._conversations = Conversations()
        self._talks: OrderedDict[str, deque[str]] = OrderedDict()
        self._openings: OrderedDict[bytes, str] = OrderedDict()

    def place(self, ctx: RequestContext, ask: Ask, ids: Ids) -> Place:
        """As the headers say. Without a session there: the agent whose conversation goes on, an agent that a pending
        call of this credential asks for, the same first words again, or a new session."""
        if ids.session is not None:
            return Place(ids.session, ids.agent or MAIN_AGENT, ids.parent)
        credential = credential_of(ctx)
        digests = self._digests(ctx, ask)
        opening, whole = (digests[0], digests[-1]) if digests else (b"", b"")
        held = self._conversations.find(digests[:-1])
        if held is not None:
            return Place(held.session, ids.agent or held.agent, ids.parent, whole)
        asked = None if ids.agent else self._asked_by(ctx, ask, credential)
        if asked is not None:
            session, spawn = asked
            return Place(session, inferred_session(credential, opening + spawn.tool_use_id.encode()), None, whole)
        if (held := self._conversations.find(digests[-1:])) is not None:
            return Place(held.session, ids.agent or held.agent, ids.parent, whole)
        talks = self._talks.get(credential)
        session = talks[-1] if ctx.side is not None and talks else inferred_session(credential, opening)
        return Place(session, ids.agent or MAIN_AGENT, ids.parent, whole)

    def known_place(self, ctx: RequestContext, ask: Ask, ids: Ids) -> Place | None:
        """The same for a request that comes to be nobody's conversation; None: it is none's."""
        if ids.session is not None:
            return Place(ids.session, ids.agent or MAIN_AGENT, ids.parent)
        held = self._conversations.find(self._digests(ctx, ask))
        return None if held is None else Place(held.session, held.agent, None, b"")

    def remember(self, session: SessionNode, node: AgentNode, digest: bytes) -> None:
        """An inferred agent's conversation has come to this end."""
        self._conversations.learn(digest, Holder(session.id, node.id))
        talks = self._talks.setdefault(session.credential, deque(maxlen=TALKS_MAX))
        if not talks or talks[-1] != session.id:
            if session.id in talks:
                talks.remove(session.id)
            talks.append(session.id)
            self._talks.move_to_end(session.credential)
            while len(self._talks) > TALKING_MAX:
                self._talks.popitem(last=False)

    def find_fork(self, ctx: RequestContext, ask: Ask, session: SessionNode) -> None:
        """A new session that begins with another one's beginning, and goes on from there, is a fork of it."""
        span = ask.spans["messages"]
        digests = self._conversations.digests(credential_of(ctx), ctx.body, span, OPENING_MESSAGES_MAX)
        if any(message.role == "assistant" for message in latest_messages(ctx.body, span)):
            begun = (self._openings.get(digest) for digest in digests)
            session.forked_from = next((each for each in begun if each not in (None, session.id)), None)
        elif digests:
            self._openings[digests[-1]] = session.id
            while len(self._openings) > OPENINGS_MAX:
                self._openings.popitem(last=False)

    def _digests(self, ctx: RequestContext, ask: Ask) -> list[bytes]:
        return self._conversations.digests(credential_of(ctx), ctx.body, ask.spans["messages"])

    def _asked_by(self, ctx: RequestContext, ask: Ask, credential: str) -> tuple[str, PendingSpawn] | None:
        """Which inferred session of the credential awaits an agent with what this conversation begins with."""
        sessions = [self._tree.session(each) for each in self._talks.get(credential, ())]
        waiting = [session for session in sessions if session is not None and len(session.expected)]
        if not waiting:
            return None
        opening = read_opening(ctx.body, ask.spans)
        for session in reversed(waiting):
            spawn = session.expected.find(opening, None)
            if spawn is not None:
                return session.id, spawn
        return None
