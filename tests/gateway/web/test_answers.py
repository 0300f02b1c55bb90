"""The table from reasons to HTTP."""

import json

import pytest

from gateway.context import Dialect
from gateway.core.wire.faults import Fault
from gateway.errors import GatewayError, Reason, Refused
from gateway.web.answers import ANSWERS, error_response, fault_response

PASSED_ON = {Reason.COMPLETED, Reason.UPSTREAM_REFUSED, Reason.CLIENT_GONE}


def test_every_reason_that_we_answer_has_its_answer() -> None:
    assert set(Reason) - set(ANSWERS) == PASSED_ON


@pytest.mark.parametrize(
    ("reason", "status", "kind"),
    [
        (Reason.POLICY_DENIED, 451, "permission_error"),
        (Reason.BUDGET_EXHAUSTED, 429, "billing_error"),
        (Reason.FUSE_BLOWN, 429, "rate_limit_error"),
        (Reason.CREDENTIAL_INVALID, 401, "authentication_error"),
    ],
)
def test_refusal_is_one_request_with_its_message(reason: Reason, status: int, kind: str) -> None:
    response = error_response(Refused(reason, "why", {"retry-after": "60"}), "dec_1")
    envelope = json.loads(response.body)  # type: ignore[arg-type]
    assert (response.status, envelope["error"]) == (status, {"type": kind, "message": "why"})
    assert response.headers["x-should-retry"] == "false"
    assert (response.headers["retry-after"], response.headers["request-id"]) == ("60", "dec_1")


def test_overload_asks_to_come_back() -> None:
    response = error_response(GatewayError(Reason.OVERLOADED, "busy"), "dec_1")
    assert response.status == 529 and response.headers["retry-after"] == "5"
    assert "x-should-retry" not in response.headers


def test_refusal_of_an_anthropic_client_is_written_byte_for_byte() -> None:
    response = error_response(Refused(Reason.POLICY_DENIED, "no – ask", {"x-more": "1"}), "dec_1")
    assert response.body == (
        '{"type":"error","error":{"type":"permission_error","message":"no – ask"},"request_id":"dec_1"}'.encode()
    )
    assert dict(response.headers) == {
        "Content-Type": "application/json",
        "request-id": "dec_1",
        "x-should-retry": "false",
        "x-more": "1",
        "x-ringfence-decision": "dec_1",
        "x-ringfence-reason": "policy_denied",
    }


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (
            "anthropic",
            {"type": "error", "error": {"type": "permission_error", "message": "why"}, "request_id": "dec_1"},
        ),
        ("operator", {"type": "error", "error": {"type": "permission_error", "message": "why"}, "request_id": "dec_1"}),
        ("bedrock", {"message": "why"}),
        ("vertex", {"error": {"code": 451, "message": "why", "status": "PERMISSION_DENIED"}}),
    ],
)
def test_refusal_is_written_in_the_dialect_of_the_request(dialect: Dialect, body: object) -> None:
    response = error_response(GatewayError(Reason.POLICY_DENIED, "why"), "dec_1", dialect)
    assert (response.status, json.loads(response.body)) == (451, body)  # type: ignore[arg-type]
    assert (response.headers["x-should-retry"], response.headers["x-ringfence-decision"]) == ("false", "dec_1")


def test_missing_capability_is_the_requests_fault() -> None:
    response = error_response(Refused(Reason.CAPABILITY_MISSING, "no web search there"), "dec_1", "bedrock")
    assert (response.status, response.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert response.headers["x-should-retry"] == "false"


def test_upstreams_down_say_when_to_come_back() -> None:
    down = Refused(Reason.UPSTREAMS_DOWN, "all are down", {"retry-after": "31"})
    assert (error_response(down, "dec_1").status, error_response(down, "dec_1", "bedrock").status) == (529, 503)
    assert error_response(down, "dec_1", "vertex").headers.getall("retry-after") == ["31"]


def test_upstreams_fault_keeps_its_headers_and_request_id() -> None:
    fault = Fault(429, "rate_limit_error", "slow down", (("retry-after", "7"), ("anthropic-ratelimit-x", "0")))
    response = fault_response(fault, "req_1", "bedrock")
    assert (response.headers["retry-after"], response.headers["anthropic-ratelimit-x"]) == ("7", "0")
    assert response.headers["x-amzn-RequestId"] == "req_1" and "x-ringfence-decision" not in response.headers
