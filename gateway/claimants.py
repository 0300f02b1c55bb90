"""Of whom something is told or asked that is no model request: the ids stand in its body instead of in headers.

They are bound to credentials in the same way. What stands against an agent is told at once; nobody waits here.
"""

from collections.abc import Iterator

from gateway.boards.controlboard import ControlBoard
from gateway.boards.fuseboard import FuseBoard, holders_of
from gateway.context import RequestContext
from gateway.contract import AGENT_HEADERS, PARENT_AGENT_HEADERS, RUN_HEADER, SESSION_HEADERS
from gateway.core.agents.lineage import AgentNode
from gateway.core.fuses.fuse import FuseRecord
from gateway.core.oversight.controls import ControlRecord, targets_of
from gateway.core.wire.body import peek
from gateway.lineages import Lineages

_NOTHING = b'{"model":"none","max_tokens":1,"messages":[]}'
"""A request that says nothing of its agent's work: so ids are looked up as those of any request."""
_NOTHING_ASKED = peek(_NOTHING)


def claim(
    ctx: RequestContext, session: str | None, *, agent: str | None, parent: str | None = None, run: str | None = None
) -> None:
    """Take the ids for those of the request; whatever its headers say of them counts no more."""
    names = (SESSION_HEADERS[0], AGENT_HEADERS[0], PARENT_AGENT_HEADERS[0], RUN_HEADER)
    ctx.headers = {name: id for name, id in zip(names, (session, agent, parent, run), strict=True) if id}


def look_up(lineages: Lineages, ctx: RequestContext) -> AgentNode:
    """The claimed agent; one that has not been seen comes to no life by it.

    Raises:
        Refused: SESSION_TAKEN, BODY_MALFORMED (what can be no id).
    """
    node = lineages.known(ctx, _NOTHING_ASKED) if SESSION_HEADERS[0] in ctx.headers else lineages.nobody(ctx)
    _place(lineages, ctx, node)
    return node


async def meet(lineages: Lineages, ctx: RequestContext) -> AgentNode:
    """The claimed agent, which is counted if it was not seen before. Raises also `Refused(STORE_UNAVAILABLE)`."""
    ctx.body = _NOTHING
    node = await lineages.find(ctx, _NOTHING_ASKED)
    _place(lineages, ctx, node)
    return node


def control_on(controls: ControlBoard, ctx: RequestContext) -> ControlRecord | None:
    """What a person has said of the agent or of whatever it belongs to; a stop before a hold."""
    assert ctx.principal is not None and ctx.agent is not None and ctx.lineage is not None
    targets = set(targets_of(ctx.principal, ctx.agent, ctx.lineage.run))
    found = [record for record in controls.standing() if record.target in targets]
    return next((record for record in found if record.state == "stopped"), found[0] if found else None)


def fuses_on(fuses: FuseBoard, node: AgentNode) -> Iterator[FuseRecord]:
    """The fuses of the agent, its run, session and user that have left their first state."""
    return (record for scope, holder in holders_of(node) for record in fuses.box.of(scope, holder))


def _place(lineages: Lineages, ctx: RequestContext, node: AgentNode) -> None:
    ctx.agent, ctx.lineage = node, lineages.lineage_of(ctx, node)
