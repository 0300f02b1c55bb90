"""The table from reasons to HTTP."""

import json

import pytest

from gateway.errors import GatewayError, Reason, Refused
from gateway.web.answers import ANSWERS, error_response

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
