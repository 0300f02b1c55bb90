"""Names that clients and the runtime rely on, and the error envelope."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import contract
from gateway.contract import error_envelope

# Changing one of these breaks clients that are deployed: it takes a decision, not an edit.
PROMISED = {
    "MESSAGES_PATH": "/v1/messages",
    "COUNT_TOKENS_PATH": "/v1/messages/count_tokens",
    "MODELS_PATH": "/v1/models",
    "TAG_PREFIX": "/gw/",
    "ADMIN_PREFIX": "/ringfence/v1",
    "REQUEST_ID_HEADER": "request-id",
    "DECISION_HEADER": "x-ringfence-decision",
    "REASON_HEADER": "x-ringfence-reason",
    "SHOULD_RETRY_HEADER": "x-should-retry",
    "DENIED_TOOL": "ringfence_denied",
    "SESSION_HEADERS": ("x-claude-code-session-id", "x-ringfence-session-id"),
    "AGENT_HEADERS": ("x-claude-code-agent-id", "x-ringfence-agent-id"),
    "PARENT_AGENT_HEADERS": ("x-claude-code-parent-agent-id", "x-ringfence-parent-agent-id"),
    "RUN_HEADER": "x-ringfence-run-id",
}


@pytest.mark.parametrize(("name", "value"), PROMISED.items())
def test_promised_name_is_unchanged(name: str, value: object) -> None:
    assert getattr(contract, name) == value


def test_headers_of_ours_share_the_prefix_that_is_kept_from_upstreams() -> None:
    ours = [contract.RUN_HEADER, contract.DENIAL_FORM_HEADER, contract.DECISION_HEADER, contract.REASON_HEADER]
    for names in (contract.SESSION_HEADERS, contract.AGENT_HEADERS, contract.PARENT_AGENT_HEADERS):
        ours.append(names[1])
        assert not names[0].startswith(contract.OWN_HEADER_PREFIX)
    assert all(name.startswith(contract.OWN_HEADER_PREFIX) and name == name.lower() for name in ours)


def test_input_that_is_decided_is_shallower_than_a_body_that_is_read() -> None:
    assert 0 < contract.TOOL_INPUT_DEPTH_MAX < contract.JSON_DEPTH_MAX


def test_envelope_without_a_request_id_leaves_it_out() -> None:
    assert json.loads(error_envelope("api_error", "why")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "why"},
    }


@given(kind=st.text(), message=st.text(), request_id=st.text())
def test_envelope_holds_any_text_on_one_line(kind: str, message: str, request_id: str) -> None:
    body = error_envelope(kind, message, request_id)
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }
    assert b"\n" not in body
