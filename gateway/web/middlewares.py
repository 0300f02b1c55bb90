"""What every request passes, outermost first: `context` (a context, errors to answers, the record), `authenticate`.

Errors become answers in one place; an answer that has begun is never written over.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from itertools import count
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.context import Dialect, RequestContext
from gateway.contract import (
    ADMIN_PREFIX,
    AGENT_HEADERS,
    BEDROCK_MODEL_PREFIX,
    DECISION_HEADER,
    DECISIONS_PATH,
    DRAFT_PATH,
    EVALUATION_PATH,
    FOUNDRY_PREFIX,
    HOOKS_PREFIX,
    INFERENCE_PROFILES_PATH,
    REQUEST_ID_HEADER,
    RUN_HEADER,
    RUNS_PATH,
    SESSION_HEADERS,
    SPEND_LIMITS_PATH,
    VERTEX_PREFIXES,
)
from gateway.core.agents.lineage import first_of
from gateway.core.decisions.decision import Principal
from gateway.core.inquiries.subject import PATH_TAG
from gateway.core.spend_api.limits import CREDENTIAL_WANTED, request_id
from gateway.errors import GatewayError, Reason
from gateway.ports import Authenticator, Clock
from gateway.web.answers import error_response

CONTEXT: web.RequestKey[RequestContext] = web.RequestKey("context", RequestContext)
BEGUN: web.RequestKey[web.StreamResponse] = web.RequestKey("begun", web.StreamResponse)
"""The answer whose first bytes are out: nothing is written over it."""
IN_FLIGHT_MAX = 2_000
"""Requests answered at once by one process: each may hold a body of `BODY_BYTES_MAX` and a held tool call."""
OPEN_PATHS = frozenset({"/", "/api/hello", "/healthz", "/readyz", INFERENCE_PROFILES_PATH})
"""Answered without a credential: they tell nothing, and clients probe them before they send one."""
_DIALECTS: tuple[tuple[str, Dialect], ...] = (
    (ADMIN_PREFIX, "operator"),
    (EVALUATION_PATH, "operator"),
    (SPEND_LIMITS_PATH, "operator"),
    (BEDROCK_MODEL_PREFIX, "bedrock"),
    (INFERENCE_PROFILES_PATH, "bedrock"),
    *((prefix, "vertex") for prefix in VERTEX_PREFIXES),
)
_OTHER_PREFIXES = tuple(prefix for prefix, _ in _DIALECTS)
_SIGNED = "AWS4-HMAC-SHA256"

_log = logging.getLogger(__name__)
_client = re.compile(r"([A-Za-z0-9._-]{1,64})(?:/([A-Za-z0-9._-]{1,32}))?")


class Recorder(Protocol):
    """What counts requests in and writes them down when they end."""

    def begin(self) -> None: ...
    def record(self, ctx: RequestContext) -> None: ...


def build_middlewares(authenticator: Authenticator, clock: Clock, records: Recorder) -> list[Middleware]:
    """The order is security: nothing below `authenticate` runs without a principal."""
    return [build_context(clock, records), build_bound(IN_FLIGHT_MAX), build_authenticate(authenticator)]


def build_context(clock: Clock, records: Recorder) -> Middleware:
    """Give each request its context; turn what it raises into the one answer its reason has; write it down."""

    ids = decision_ids()

    @web.middleware
    async def context(request: web.Request, handler: Handler) -> web.StreamResponse:
        ctx = request[CONTEXT] = _new_context(request, clock, next(ids))
        if _is_open(ctx):
            return await _answered(request, ctx, handler)
        records.begin()
        try:
            response = await _answered(request, ctx, handler)
            ctx.status = response.status
            return response
        finally:
            if not ctx.drained_later:
                records.record(ctx)

    return context


async def _answered(request: web.Request, ctx: RequestContext, handler: Handler) -> web.StreamResponse:
    try:
        _require_plain_path(request, ctx)
        response = await handler(request)
    except GatewayError as error:
        return _refusal(request, ctx, error)
    except web.HTTPException as error:
        return _refusal(request, ctx, _from_http(error, request))
    except asyncio.CancelledError:
        ctx.reason = ctx.reason or Reason.CLIENT_GONE
        raise
    except Exception:
        _log.exception("request %s failed", ctx.id)
        return _refusal(
            request, ctx, GatewayError(Reason.INTERNAL, f"the gateway failed on {ctx.id}; its log says how")
        )
    if not response.prepared:
        response.headers.setdefault(REQUEST_ID_HEADER, _request_id(ctx))
        response.headers[DECISION_HEADER] = ctx.id
    return response


def _refusal(request: web.Request, ctx: RequestContext, error: GatewayError) -> web.StreamResponse:
    ctx.reason, ctx.message = error.reason, error.message
    begun = request.get(BEGUN)
    if begun is None:
        response = error_response(error, _request_id(ctx), ctx.dialect)
        response.headers[DECISION_HEADER] = ctx.id
        return response
    if request.transport is not None:
        request.transport.abort()
    return begun


def build_bound(in_flight_max: int) -> Middleware:
    """Refuse to begin more requests than memory is sure to hold."""
    in_flight = 0

    @web.middleware
    async def bound(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_flight
        if in_flight >= in_flight_max:
            raise GatewayError(Reason.OVERLOADED, f"{in_flight_max} requests are being answered; try again in a moment")
        in_flight += 1
        try:
            return await handler(request)
        finally:
            in_flight -= 1

    return bound


def build_authenticate(authenticator: Authenticator) -> Middleware:
    """Find the principal of `x-api-key` (Foundry: `api-key`) or the bearer; those that are sent must agree."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_open(ctx := request[CONTEXT]):
            return await handler(request)
        if request.path.startswith(SPEND_LIMITS_PATH):
            ctx.principal = _admin(authenticator, request)
            return await handler(request)
        secret = _secret(request)
        principal = authenticator.authenticate(secret)
        if principal is None:
            message = "the credential is not known here, or was revoked; ask your operator for one"
            raise GatewayError(Reason.CREDENTIAL_INVALID, message)
        if request.path.startswith(ADMIN_PREFIX) and not (principal.operator or _is_everybodys(request.path)):
            message = f"credential {principal.credential} is not an operator's; use one created with --operator"
            raise GatewayError(Reason.FORBIDDEN, message)
        run = authenticator.run_of(secret)
        if run is not None:
            _require_run(ctx, run)
            ctx.bearer_run = run
        ctx.principal = principal
        if ctx.tag is not None and PATH_TAG not in principal.tags:  # the client's word never replaces the operator's
            ctx.principal = principal.tagged(PATH_TAG, ctx.tag)
        return await handler(request)

    return authenticate


def _require_run(ctx: RequestContext, run: str) -> None:
    """What a run shows is good for model requests of its own agents, and for nothing else."""
    placed = first_of(ctx.headers, SESSION_HEADERS) and first_of(ctx.headers, AGENT_HEADERS)
    if ctx.dialect == "operator" or not placed or ctx.headers.get(RUN_HEADER) != run:
        message = f"this credential is for model requests of agents of run {run}, which name it; use one of your own"
        raise GatewayError(Reason.FORBIDDEN, message)


def _is_everybodys(path: str) -> bool:
    """For these of our own paths any credential will do; what it may ask there is said there."""
    return path in (DECISIONS_PATH, DRAFT_PATH, RUNS_PATH) or path.startswith((HOOKS_PREFIX, RUNS_PATH + "/"))


def _admin(authenticator: Authenticator, request: web.Request) -> Principal:
    """The operator, of a path whose clients know one word for whatever is wrong with a credential."""
    try:
        principal = authenticator.authenticate(_secret(request))
    except GatewayError as error:
        raise GatewayError(error.reason, CREDENTIAL_WANTED) from None
    if principal is None or not principal.operator:
        raise GatewayError(Reason.CREDENTIAL_INVALID, CREDENTIAL_WANTED)
    return principal


def _request_id(ctx: RequestContext) -> str:
    return request_id(ctx.id) if ctx.path.startswith(SPEND_LIMITS_PATH) else ctx.id


def _is_open(ctx: RequestContext) -> bool:
    return ctx.path.partition("?")[0] in OPEN_PATHS


def _secret(request: web.Request) -> str:
    keys = {request.headers.get(name, "") for name in ("x-api-key", "api-key")} - {""}
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    shown = keys | ({bearer} - {""})
    if len(shown) > 1:
        message = "x-api-key and the bearer differ; send one credential, or the same one in both"
        raise GatewayError(Reason.CREDENTIAL_CONFLICT, message)
    if not shown:
        message = "no credential; send it as x-api-key or as Authorization: Bearer"
        if scheme == _SIGNED:
            message = "a signature is no credential here; send yours as a bearer (AWS_BEARER_TOKEN_BEDROCK)"
        raise GatewayError(Reason.CREDENTIAL_MISSING, message)
    return shown.pop()


def decision_ids() -> Iterator[str]:
    """`dec_<24 hex>`: unique over processes and restarts by its first part, within one by its count. Not a secret."""
    process = os.urandom(8).hex()
    return (f"dec_{process}{number:08x}" for number in count(1))


def _require_plain_path(request: web.Request, ctx: RequestContext) -> None:
    """Escapes stand in names alone: the route was found by the decoded path, dialect and upstream path are not."""
    if ctx.dialect == "anthropic" and "%" in request.rel_url.raw_path:
        raise GatewayError(Reason.NOT_FOUND, "the path holds an escape where none belongs; write it plainly")


def _new_context(request: web.Request, clock: Clock, decision_id: str) -> RequestContext:
    path = request.rel_url.raw_path_qs
    tag = request.match_info.get("tag")
    if tag is not None:
        path = "/" + path.split("/", 3)[3]  # by its slashes: a tag with escapes is longer than it reads
    if path.startswith(FOUNDRY_PREFIX + "/"):
        path = path[len(FOUNDRY_PREFIX) :]
    client = _client.match(request.headers.get("user-agent", ""))
    return RequestContext(
        id=decision_id,
        method=request.method,
        path=path,
        headers=request.headers,
        dialect=_dialect(path),
        received_unix_ms=clock.unix_ms(),
        received_monotonic=clock.monotonic(),
        client_name=client[1] if client else "",
        client_version=(client[2] or "") if client else "",
        tag=tag,
    )


def _dialect(path: str) -> Dialect:
    if not path.startswith(_OTHER_PREFIXES):
        return "anthropic"
    return next(dialect for prefix, dialect in _DIALECTS if path.startswith(prefix))


def _from_http(error: web.HTTPException, request: web.Request) -> GatewayError:
    if error.status == 413:
        return GatewayError(Reason.BODY_TOO_LARGE, "the request body is larger than this gateway takes")
    if error.status in (404, 405):
        return GatewayError(Reason.NOT_FOUND, f"{request.method} {request.path} is not served here")
    return GatewayError(Reason.INTERNAL, f"unexpected answer {error.status}")
