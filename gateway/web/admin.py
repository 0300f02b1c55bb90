"""The operator paths under `/ringfence/v1`: fuses, sessions, upstreams. For operators only. Limits: `explain.py`."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from gateway.contract import ADMIN_PREFIX
from gateway.core.fuse import FuseNotBlown, FuseRecord, FuseUnknown
from gateway.core.lineage import AgentNode, SessionNode, Tree
from gateway.errors import GatewayError, Reason
from gateway.fuseboard import FuseBoard
from gateway.switchboard import Switchboard
from gateway.web.middlewares import CONTEXT

SESSIONS_SHOWN = 50
SESSIONS_SHOWN_MAX = 1_000


class Replacement(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a fuse's replacement."""

    reason: str


def build_admin_routes(fuses: FuseBoard, tree: Tree, board: Switchboard) -> list[web.RouteDef]:
    """All operator paths."""

    async def list_fuses(request: web.Request) -> web.Response:
        return _json({"fuses": fuses.box.records()})

    async def replace_fuse(request: web.Request) -> web.Response:
        principal = request[CONTEXT].principal
        assert principal is not None
        try:
            body = msgspec.json.decode(await request.read(), type=Replacement)
            record = fuses.replace(request.match_info["id"], by=principal.user, reason=body.reason)
        except FuseUnknown as error:
            raise GatewayError(Reason.NOT_FOUND, str(error)) from None
        except (msgspec.MsgspecError, FuseNotBlown, ValueError) as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        return _json(record)

    async def list_sessions(request: web.Request) -> web.Response:
        shown = min(_whole_number(request, "limit", SESSIONS_SHOWN), SESSIONS_SHOWN_MAX)
        sessions = [_session(node, fuses.box.records()) for node, _ in zip(tree.sessions(), range(shown), strict=False)]
        return _json({"sessions": sessions})

    async def show_session(request: web.Request) -> web.Response:
        session = tree.session(request.match_info["id"])
        if session is None:
            raise GatewayError(Reason.NOT_FOUND, f"session {request.match_info['id']} has not been seen")
        return _json(_session(session, fuses.box.records()))

    async def list_upstreams(_request: web.Request) -> web.Response:
        return _json({"upstreams": board.views()})

    return [
        web.get(f"{ADMIN_PREFIX}/fuses", list_fuses),
        web.post(f"{ADMIN_PREFIX}/fuses/{{id}}/replace", replace_fuse),
        web.get(f"{ADMIN_PREFIX}/sessions", list_sessions),
        web.get(f"{ADMIN_PREFIX}/sessions/{{id}}", show_session),
        web.get(f"{ADMIN_PREFIX}/upstreams", list_upstreams),
    ]


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise GatewayError(Reason.BODY_MALFORMED, f"{name}: must be a whole number, not '{text[:32]}'")
    return int(text)


def _session(session: SessionNode, records: Sequence[FuseRecord]) -> dict[str, object]:
    agents = list(session.agents.values())
    workspaces = (node.workspace for node in agents if node.workspace is not None)
    return {
        "session": session.id,
        "user": session.user,
        "client": session.client,
        "workspace": next(workspaces, None),
        "first_seen_ms": session.first_seen_ms,
        "last_seen_ms": max((node.last_seen_ms for node in agents), default=session.first_seen_ms),
        "cost_nanousd": session.used.cost_nanousd,
        "fuses": [record.id for record in records if record.holder == session.id],
        "agents": [_agent(node, records) for node in agents],
    }


def _agent(node: AgentNode, records: Sequence[FuseRecord]) -> dict[str, object]:
    return {
        "agent": node.id,
        "parent": node.parent,
        "depth": node.depth,
        "agent_type": node.agent_type,
        "model": node.model,
        "requests": node.used.requests,
        "tool_calls": node.used.tool_calls,
        "denials": node.used.denials,
        "cost_nanousd": node.used.cost_nanousd,
        "last_seen_ms": node.last_seen_ms,
        "fuses": [record.id for record in records if record.holder == node.key],
    }
