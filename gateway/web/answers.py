"""The one table from a reason to HTTP: status, error type, whether the client should try again (DESIGN 7).

Chosen from how real clients react: a 451 or a 429 with `x-should-retry: false` is one request and its message is shown;
400, 401, 403 and 404 make Claude Code probe, wait or hide the message, so they are kept for what they mean.
"""

from dataclasses import dataclass

from aiohttp import web

from gateway.contract import DECISION_HEADER, REQUEST_ID_HEADER, SHOULD_RETRY_HEADER, error_envelope
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
    Reason.POLICY_DENIED: Answer(451, "permission_error"),
    Reason.POLICY_FAILED: Answer(451, "permission_error"),
    Reason.BUDGET_EXHAUSTED: Answer(429, "billing_error"),
    Reason.FUSE_BLOWN: Answer(429, "rate_limit_error"),
    Reason.OVERLOADED: Answer(529, "overloaded_error", None),
    Reason.STORE_UNAVAILABLE: Answer(529, "overloaded_error", None),
    Reason.UPSTREAM_UNREACHABLE: Answer(502, "api_error", None),
    Reason.UPSTREAM_TIMEOUT: Answer(504, "timeout_error", None),
    Reason.UPSTREAM_BROKE: Answer(502, "api_error", None),
    Reason.INTERNAL: Answer(500, "api_error", None),
}
"""Reasons that are not here never become an answer of ours: the client has left, or the upstream has answered."""


def error_response(error: GatewayError, request_id: str) -> web.Response:
    """The answer for an error, before any byte of another answer was sent."""
    answer = ANSWERS.get(error.reason, ANSWERS[Reason.INTERNAL])
    headers = {REQUEST_ID_HEADER: request_id, DECISION_HEADER: request_id}
    if answer.retry is not None:
        headers[SHOULD_RETRY_HEADER] = "true" if answer.retry else "false"
    if answer.status == 529:
        headers["retry-after"] = str(OVERLOAD_RETRY_SECONDS)
    if isinstance(error, Refused):
        headers.update(error.headers)
    body = error_envelope(answer.error_type, error.message, request_id)
    return web.Response(status=answer.status, body=body, headers=headers, content_type="application/json")
