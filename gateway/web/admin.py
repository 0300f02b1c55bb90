"""The operator paths of fuses and upstreams. For operators only. Sessions: `top.py`, limits: `explain.py`."""

import msgspec
from aiohttp import web

from gateway.boards.fuseboard import FuseBoard
from gateway.contract import ADMIN_PREFIX
from gateway.core.fuses.fuse import FuseNotBlown, FuseUnknown
from gateway.errors import GatewayError, Reason
from gateway.switchboard import Switchboard
from gateway.web.middlewares import CONTEXT


class Replacement(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a fuse's replacement."""

    reason: str


def build_admin_routes(fuses: FuseBoard, board: Switchboard) -> list[web.RouteDef]:
    """Both."""

    async def list_upstreams(_request: web.Request) -> web.Response:
        return _json({"upstreams": board.views()})

    return [
        *_fuse_routes(fuses),
        web.get(f"{ADMIN_PREFIX}/upstreams", list_upstreams),
    ]


def _fuse_routes(fuses: FuseBoard) -> list[web.RouteDef]:
    async def list_fuses(request: web.Request) -> web.Response:
        return _json({"fuses": fuses.box.records()})

    async def show_fuse(request: web.Request) -> web.Response:
        try:
            return _json(fuses.box.record(request.match_info["id"]))
        except FuseUnknown as error:
            raise GatewayError(Reason.NOT_FOUND, str(error)) from None

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

    return [
        web.get(f"{ADMIN_PREFIX}/fuses", list_fuses),
        web.get(f"{ADMIN_PREFIX}/fuses/{{id}}", show_fuse),
        web.post(f"{ADMIN_PREFIX}/fuses/{{id}}/replace", replace_fuse),
    ]


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
