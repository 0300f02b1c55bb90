"""The operator paths of sessions: one, or the first ones in an order. For operators only.

What has a session's name belongs here and in the audit trail; metrics have none.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import get_args

import msgspec
from aiohttp import web

from gateway.contract import ADMIN_PREFIX
from gateway.core.agents.lineage import AgentNode, Order, SessionNode, Tree
from gateway.core.agents.workflow_runs import RunNode
from gateway.core.fuses.fuse import FuseBox
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock

ORDERS: tuple[Order, ...] = get_args(Order)
SESSIONS_SHOWN = 50
SESSIONS_SHOWN_MAX = 1_000

Fuses = Mapping[str, Sequence[str]]
"""Ids of fuses by their holder."""


def build_session_routes(fuses: FuseBox, tree: Tree, clock: Clock) -> list[web.RouteDef]:
    """`/sessions?order=&limit=` and `/sessions/{id}` below the operators' prefix."""

    async def list_sessions(request: web.Request) -> web.Response:
        most = min(_whole_number(request, "limit", SESSIONS_SHOWN), SESSIONS_SHOWN_MAX)
        order, now_ms = _order(request), clock.unix_ms()
        by_use = order == "last_seen"
        found = islice(tree.sessions(), most) if by_use else tree.top(order, most, now_ms)
        held = _by_holder(fuses)
        return _json({"sessions": [_session(node, held, now_ms) for node in found]})

    async def show_session(request: web.Request) -> web.Response:
        session = tree.session(request.match_info["id"])
        if session is None:
            raise GatewayError(Reason.NOT_FOUND, f"session {request.match_info['id']} has not been seen")
        return _json(_session(session, _by_holder(fuses), clock.unix_ms()))

    return [
        web.get(f"{ADMIN_PREFIX}/sessions", list_sessions),
        web.get(f"{ADMIN_PREFIX}/sessions/{{id}}", show_session),
    ]


def _by_holder(fuses: FuseBox) -> Fuses:
    held: defaultdict[str, list[str]] = defaultdict(list)
    for record in fuses.records():
        held[record.holder].append(record.id)
    return held


def _order(request: web.Request) -> Order:
    text = request.query.get("order", "last_seen")
    for order in ORDERS:
        if text == order:
            return order
    raise GatewayError(Reason.BODY_MALFORMED, f"order: must be one of {', '.join(ORDERS)}, not '{text[:32]}'")


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise GatewayError(Reason.BODY_MALFORMED, f"{name}: must be a whole number, not '{text[:32]}'")
    return int(text)


def _session(session: SessionNode, fuses: Fuses, now_ms: int) -> dict[str, object]:
    """Sums are over all gateways; what it has touched, and who is at work, as far as this one knows."""
    agents = list(session.agents.values())
    workspaces = (node.workspace for node in agents if node.workspace is not None)
    meters, blast = session.meters(now_ms), session.blast()
    return {
        "session": session.id,
        "user": session.user,
        "client": session.client,
        "workspace": next(workspaces, None),
        "first_seen_ms": session.first_seen_ms,
        "last_seen_ms": max((node.last_seen_ms for node in agents), default=session.first_seen_ms),
        "cost_nanousd": meters["cost"],
        "denials": meters["denials"],
        "spawned": meters["agents"],
        "active_agents": meters["active_agents"],
        "depth": meters["depth"],
        "files": blast["files"],
        "written_files": blast["written_files"],
        "hosts": blast["hosts"],
        "tool_classes": sorted(session.reach.classes),
        "fuses": fuses.get(session.id, ()),
        "inferred": session.inferred,
        "forked_from": session.forked_from,
        "runs": [_run(run, now_ms) for run in session.runs],
        "agents": [_agent(node, fuses, now_ms) for node in agents],
    }


def _run(run: RunNode, now_ms: int) -> dict[str, object]:
    meters = run.meters(now_ms)
    return {
        "run": run.id,
        "name": run.name,
        "script_sha256": run.script_sha256,
        "source": run.source,
        "tool_use_id": run.tool_use_id,
        "state": run.state,
        "agents": meters["agents"],
        "cost_nanousd": meters["cost"],
    }


def _agent(node: AgentNode, fuses: Fuses, now_ms: int) -> dict[str, object]:
    meters = node.meters(now_ms)
    return {
        "agent": node.id,
        "parent": node.parent,
        "depth": node.depth,
        "parent_inferred": node.parent_inferred,
        "unasked": node.unasked,
        "agent_type": node.agent_type,
        "tool_use_id": node.spawned_by,
        "background": node.background,
        "run": None if node.run is None else node.run.id,
        "run_inferred": node.run_inferred,
        "resumes": node.resumes,
        "model": node.model,
        "requests": meters["requests"],
        "tool_calls": meters["tool_calls"],
        "denials": meters["denials"],
        "cost_nanousd": meters["cost"],
        "last_seen_ms": node.last_seen_ms,
        "fuses": fuses.get(node.key, ()),
    }
