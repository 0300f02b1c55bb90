"""The operator path `/ringfence/v1/controls`: stop, hold, release; for operators. Effects: `boards/controlboard.py`."""

import msgspec
from aiohttp import web

from gateway.boards.controlboard import ControlBoard
from gateway.contract import ADMIN_PREFIX
from gateway.core.agents.lineage import Tree
from gateway.core.oversight.controls import Action, ControlRecord, ControlRefused, Order, parse_target
from gateway.errors import GatewayError, Reason
from gateway.web.middlewares import CONTEXT


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a control."""

    action: Action
    target: str
    reason: str


class Shown(msgspec.Struct):
    """A control, and how many requests it has to do with on this gateway."""

    control: ControlRecord
    in_flight: int
    warnings: list[str] = []


def build_control_routes(board: ControlBoard, tree: Tree) -> list[web.RouteDef]:
    """Post one, list those that stand."""

    async def post_control(request: web.Request) -> web.Response:
        principal = request[CONTEXT].principal
        assert principal is not None
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
            parse_target(asked.target)
            under_way = board.in_flight(asked.target)
            record = await board.change(Order(asked.action, asked.target, principal.user, asked.reason))
        except (msgspec.MsgspecError, ControlRefused) as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None
        return _json(Shown(record, under_way, unseen(tree, record.target)))

    async def list_controls(_request: web.Request) -> web.Response:
        return _json({"controls": [Shown(record, board.in_flight(record.target)) for record in board.standing()]})

    return [
        web.post(f"{ADMIN_PREFIX}/controls", post_control),
        web.get(f"{ADMIN_PREFIX}/controls", list_controls),
    ]


def unseen(tree: Tree, target: str) -> list[str]:
    """What is to be said of a target that this gateway has not met: another one may have, or it is misspelt."""
    kind, id = parse_target(target)
    name, _, agent = id.partition("/")
    if kind == "user":
        met = any(session.user == id for session in tree.sessions())
    elif kind in ("session", "agent"):
        session = tree.session(name)
        met = session is not None and (kind == "session" or agent in session.agents)
    else:
        return []
    return [] if met else [f"this gateway has not seen {kind} {id}; if another one has, it holds there all the same"]


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
