"""Finds the agent of a request in the tree, or brings it to life there. Whose an id is: `claims.py`."""

from collections.abc import Callable

from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT, RUN_HEADER
from gateway.core.agents.branches import ORPHAN_DEPTH
from gateway.core.agents.conversations import last_words, read_opening
from gateway.core.agents.lineage import AgentNode, Opening, SessionNode, Tree
from gateway.core.agents.sides import find_side
from gateway.core.agents.spawns import FORK, text_sha256
from gateway.core.agents.workflow_runs import read_news, task_of
from gateway.core.decisions.decision import Client, Lineage
from gateway.core.wire.body import Ask, find_workspace
from gateway.lineages.claims import Claims, Ids, TellRefused, credential_of, read_ids
from gateway.lineages.talks import Place, Talks
from gateway.ports import Clock, LineageStore

NOBODY = "none"
"""The session of a request that belongs to none."""


def _is_accepted(_credential: str) -> bool:
    """For credentials that are never replaced."""
    return False


class Lineages:
    """The agents of all requests."""

    def __init__(
        self,
        tree: Tree,
        store: LineageStore,
        clock: Clock,
        *,
        tell_refused: TellRefused,
        is_retired: Callable[[str], bool] = _is_accepted,
    ) -> None:
        """`is_retired`: is this credential no longer accepted?"""
        self.tree = tree
        self._store = store
        self._clock = clock
        self._claims = Claims(tree, store, tell_refused, is_retired)
        self._talks = Talks(tree)

    async def find(self, ctx: RequestContext, ask: Ask) -> AgentNode:
        """The agent of a request, counted and claimed; sets `ctx.side`. Of a known one nothing is awaited.

        Raises:
            Refused: SESSION_TAKEN, BODY_MALFORMED (a header that is no id), STORE_UNAVAILABLE.
            Malformed: the messages cannot be read.
        """
        ids = read_ids(ctx)
        ctx.side = find_side(ctx.body, ask)
        if ids.run is not None and (run := self.tree.run(ids.run)) is not None:
            self._claims.require_own(ctx, f"run {run.id}", run.owner.credential, run.owner.user)
        place = self._talks.place(ctx, ask, ids)
        while True:
            await self._claims.settled(ctx, place.session)
            node = self._standing(ctx, place)
            if node is not None and node.claimed:
                self._go_on(ctx, ask, node)
                break
            node = node or self._add(ctx, ask, ids, place)
            if await self._claims.claim(ctx, node):
                break
        self._note(ctx, ask, ids, place=place, node=node)
        return node

    def known(self, ctx: RequestContext, ask: Ask) -> AgentNode:
        """The agent of a request that costs nothing; one that has not been seen comes to no life by it."""
        ids = read_ids(ctx)
        ctx.side = "count"
        place = self._talks.known_place(ctx, ask, ids)
        if place is None:
            return self.nobody(ctx)
        session = self.tree.session(place.session)
        if session is None or not (session.claimed or session.credential == credential_of(ctx)):
            session = _blank(ctx, place)
        self._claims.require_own(ctx, f"session {session.id}", session.credential, session.user)
        return session.agents.get(place.agent) or _guest(ctx, session, place)

    def nobody(self, ctx: RequestContext) -> AgentNode:
        """An agent that stands in no tree, for questions that bring none to life."""
        place = Place(NOBODY, MAIN_AGENT, None, b"")
        return _guest(ctx, _blank(ctx, place), place)

    def lineage_of(self, ctx: RequestContext, node: AgentNode) -> Lineage:
        """Where an agent stands, as policies and records see it."""
        run = node.run.id if node.run is not None else ctx.headers.get(RUN_HEADER) or None
        return Lineage(
            session=node.session.id,
            agent=node.id,
            run=run,
            parent=node.parent,
            depth=node.depth,
            agent_type=node.agent_type,
            client=Client(ctx.client_name, ctx.client_version),
            inferred=node.session.inferred,
            workspace=node.workspace,
        )

    def take_back(self, node: AgentNode) -> None:
        """One request's spawn was denied, and it ends. Unless another's was allowed or is being decided, it is none."""
        if node.admitted or node.in_flight > 1:
            node.end(self._clock.unix_ms(), owes_tool_result=node.owes_tool_result)
            return
        self.tree.remove(node)
        self._store.release_agent(node.session.id, node.id)

    def _standing(self, ctx: RequestContext, place: Place) -> AgentNode | None:
        session = self.tree.session(place.session)
        if session is None:
            return None
        self._claims.require_own(ctx, f"session {session.id}", session.credential, session.user)
        return session.agents.get(place.agent)

    def _add(self, ctx: RequestContext, ask: Ask, ids: Ids, place: Place) -> AgentNode:
        """Count an agent that was not seen before, and find out what it is."""
        workspace, opening = find_workspace(ctx.body, ask.spans), read_opening(ctx.body, ask.spans)
        session = self.tree.session(place.session) or _blank(ctx, place)
        node = self.tree.add(session, place.agent, place.parent, self._clock.unix_ms())
        node.workspace = workspace
        if node.id == MAIN_AGENT:
            node.admitted = True
            return node
        main = session.agents.get(MAIN_AGENT)
        if workspace is None and main is not None:
            node.workspace = main.workspace
        self._recognise(node, opening, place.parent)
        node.unasked = node.unasked and ids.run is None
        return node

    def _note(self, ctx: RequestContext, ask: Ask, ids: Ids, *, place: Place, node: AgentNode) -> None:
        """What every request tells of its agent."""
        session = node.session
        if ids.run is not None and (node.run is None or ids.run not in node.run.names):
            run = self.tree.named_run(session, ids.run, self._clock.unix_ms())
            if run is not None:
                self.tree.join(node, run)
        if ctx.side is not None:
            if ctx.side == "compact":
                node.compact()
            return
        node.model = ctx.model
        if place.digest is not None:
            self._talks.remember(session, node, place.digest)
        elif not session.opened and node.id == MAIN_AGENT:
            session.opened = True
            self._talks.find_fork(ctx, ask, session)

    def _go_on(self, ctx: RequestContext, ask: Ask, node: AgentNode) -> None:
        """What a further request of an agent tells of runs, and of messages that woke it."""
        session, span = node.session, ask.spans["messages"]
        if session.runs.open and ctx.side is None:
            for news in read_news(ctx.body, span):
                self.tree.hear(session, news, self._clock.unix_ms())
        if session.expected.messages and node.id != MAIN_AGENT and not node.owes_tool_result and not node.in_flight:
            message = session.expected.answer(node.id, last_words(ctx.body, span))
            if message is not None:
                node.resumes += 1
                node.resumed_by = message.tool_use_id

    def _recognise(self, node: AgentNode, opening: Opening, parent: str | None) -> None:
        """What a new agent is: as the call that asked for it tells, or the script of a run."""
        session = node.session
        spawn = session.claim(opening, parent)
        if spawn is not None:
            node.asked, node.spawned_by = spawn, spawn.tool_use_id or None
            node.agent_type, node.background = spawn.agent_type, spawn.background
            node.prompt_sha256 = spawn.prompt_sha256
            if parent is None and spawn.parent != MAIN_AGENT:
                node.parent_inferred = True
                session.branches.hang(node, spawn.parent)
            if spawn.agent_type == FORK:
                node.forked_from = spawn.parent
            return
        node.prompt_sha256 = opening.task_sha256
        if self._join(node, opening, parent):
            return
        above = session.agents.get(parent or MAIN_AGENT)
        node.unasked = above is not None and above.seen_whole

    def _join(self, node: AgentNode, opening: Opening, parent: str | None) -> bool:
        """An agent that no tool call asked for may be one of a script's; then it belongs to a run."""
        runs, framed = node.session.runs, task_of(opening.task)
        hooked = runs.hooked(node.id)
        node.workflow = hooked is not None or framed is not None or opening.from_script
        if not node.workflow and (parent is not None or not runs.open):
            return False
        task = opening.task if framed is None else framed
        node.prompt_sha256 = text_sha256(task)
        run, guessed = (hooked, False) if hooked is not None else runs.match(task)
        if run is not None:
            self.tree.join(node, run, inferred=guessed or not node.workflow)
            node.workflow, node.spawned_by = True, run.tool_use_id
        return True


def _blank(ctx: RequestContext, place: Place) -> SessionNode:
    """A session that nobody has seen."""
    assert ctx.principal is not None
    principal, inferred = ctx.principal, place.digest is not None
    return SessionNode(place.session, principal.credential, principal.user, ctx.client_name, inferred=inferred)


def _guest(ctx: RequestContext, session: SessionNode, place: Place) -> AgentNode:
    """An agent that is seen and not counted; it stands where it would."""
    main, now = session.agents.get(MAIN_AGENT), ctx.received_unix_ms
    session.first_seen_ms = session.first_seen_ms or now
    guest = AgentNode(session, place.agent, None, 0, now, now, workspace=main.workspace if main else None)
    if place.agent != MAIN_AGENT:
        guest.parent = place.parent or MAIN_AGENT
        above = session.agents.get(guest.parent)
        guest.depth = above.depth + 1 if above is not None else 1 if guest.parent == MAIN_AGENT else ORPHAN_DEPTH
    return guest
