"""The one table from a reason to HTTP: status, error type, whether the client should try again (DESIGN 7).

Chosen from how real clients react: a 451 or a 429 with `x-should-retry: false` is one request and its message is shown;
400, 401, 403 and 404 make Claude Code probe, wait or hide the message, so they are kept for what they mean.
How a fault is spelt in each dialect is `core/wire/faults`.
"""

from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from gateway.context import Dialect
from gateway.contract import DECISION_HEADER, REASON_HEADER, SHOULD_RETRY_HEADER
from gateway.core.wire.faults import Fault, write_fault
from gateway.errors import GatewayError, Reason, Refused

OVERLOAD_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """How a reason looks to a client of the Messages API. `retry`: None leaves the client to its own rules."""

    status: int
    error_type: str
    retry: bool | None = False


ANSWERS: dict[Reason, Answer] = {
    Reason.CREDENTIAL_MISSING: Answer(401, "authentication_error"),
    Reason.CREDENTIAL_INVALID: Answer(401, "authentication_error"),
    Reason.CREDENTIAL_CONFLICT: Answer(401, "authentication_error"),
    Reason.FORBIDDEN: Answer(403, "permission_error"),
    Reason.NOT_FOUND: Answer(404, "not_found_error"),
    Reason.BODY_MALFORMED: Answer(400, "invalid_request_error"),
    Reason.BODY_TOO_LARGE: Answer(413, "request_too_large"),
    Reason.MODEL_UNROUTED: Answer(404, "not_found_error"),
    Reason.MODEL_UNPRICED: Answer(451, "permission_error"),
    Reason.CAPABILITY_MISSING: Answer(400, "invalid_request_error"),
    Reason.POLICY_DENIED: Answer(451, "permission_error"),
    Reason.POLICY_FAILED: Answer(451, "permission_error"),
    Reason.BUDGET_EXHAUSTED: Answer(429, "billing_error"),
    Reason.RATE_LIMITED: Answer(429, "rate_limit_error", None),
    Reason.FUSE_BLOWN: Answer(429, "rate_limit_error"),
    Reason.SESSION_TAKEN: Answer(451, "permission_error"),
    Reason.STOPPED: Answer(429, "rate_limit_error"),
    Reason.HELD: Answer(429, "rate_limit_error", None),
    Reason.OVERLOADED: Answer(529, "overloaded_error", None),
    Reason.STORE_UNAVAILABLE: Answer(529, "overloaded_error", None),
    Reason.UPSTREAMS_DOWN: Answer(529, "overloaded_error", None),
    Reason.UPSTREAM_UNREACHABLE: Answer(502, "api_error", None),
    Reason.UPSTREAM_TIMEOUT: Answer(504, "timeout_error", None),
    Reason.UPSTREAM_BROKE: Answer(502, "api_error", None),
    Reason.INTERNAL: Answer(500, "api_error", None),
}
"""Reasons that are not here never become an answer of ours: the client has left, or the upstream has answered."""


def error_response(error: GatewayError, request_id: str, dialect: Dialect = "anthropic") -> web.Response:
    """The answer for an error, in the dialect of the request, before any byte of another answer was sent."""
    answer = ANSWERS.get(error.reason, ANSWERS[Reason.INTERNAL])
    headers: dict[str, str] = {}
    if answer.retry is not None:
        headers[SHOULD_RETRY_HEADER] = "true" if answer.retry else "false"
    if answer.status == 529:
        headers["retry-after"] = str(OVERLOAD_RETRY_SECONDS)
    if isinstance(error, Refused):
        headers.update(error.headers)
    fault = Fault(answer.status, answer.error_type, error.message, tuple(headers.items()))
    response = fault_response(fault, request_id, dialect)
    response.headers[DECISION_HEADER] = request_id
    response.headers[REASON_HEADER] = error.reason
    return response


def fault_response(fault: Fault, request_id: str, dialect: Dialect) -> web.Response:
    """The answer for an upstream's fault, in the dialect of the request. `request_id`: the upstream's if it has one."""
    written = write_fault("anthropic" if dialect == "operator" else dialect, fault, request_id)
    return web.Response(status=written.status, body=written.body, headers=CIMultiDict(written.headers))
