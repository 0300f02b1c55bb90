"""Names shared with clients and with the runtime: paths, headers, the reserved tool name, limits, the error envelope.

No behaviour beyond building the envelope; imports nothing of the gateway.
"""

import json
import re

MESSAGES_PATH = "/v1/messages"
COUNT_TOKENS_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models"
FOUNDRY_PREFIX = "/anthropic"
"""Microsoft Foundry serves the Anthropic dialect below this path, and so do we."""
BEDROCK_MODEL_PREFIX = "/model/"
INFERENCE_PROFILES_PATH = "/inference-profiles"
VERTEX_PREFIXES = ("/v1/projects/", "/projects/")
TAG_PREFIX = "/gw/"
"""Any inference path may be reached as `/gw/<tag><path>`; the tag becomes the principal tag `path`."""
ADMIN_PREFIX = "/ringfence/v1"
HOOKS_PREFIX = "/ringfence/v1/hooks/"
"""Where Claude Code's hooks of type `http` go; the event follows."""
DECISIONS_PATH = "/ringfence/v1/decisions"
"""Where a harness that is not behind the gateway asks for decisions."""
EVALUATION_PATH = "/access/v1/evaluation"
"""The same under the name that the AuthZEN Authorization API gives it."""
RUNS_PATH = "/ringfence/v1/runs"
"""Runs of workflow scripts: for anybody with a credential, who meets their own ones there."""
DRAFT_PATH = "/ringfence/v1/workflows/draft"
"""Where a model is asked for a workflow script."""
SPEND_LIMITS_PATH = "/v1/organizations/spend_limits"
"""Limits that operators set, in the shapes of Anthropic's admin API."""
OAUTH_USAGE_PATH = "/api/oauth/usage"
"""Where Claude Code asks what its user has spent."""

# Lineage claimed by the client. Claude Code's own names come first, ours serve every other client.
SESSION_HEADERS = ("x-claude-code-session-id", "x-ringfence-session-id")
AGENT_HEADERS = ("x-claude-code-agent-id", "x-ringfence-agent-id")
PARENT_AGENT_HEADERS = ("x-claude-code-parent-agent-id", "x-ringfence-parent-agent-id")
RUN_HEADER = "x-ringfence-run-id"
RUN_ID = re.compile(r"wf_[a-z0-9-]{6,61}")
"""Of a run of our own; those that clients name may be anything."""
IDEMPOTENCY_HEADER = "idempotency-key"
"""On what starts or changes a run: the same key once more is answered as the first time, and does nothing."""
DENIAL_FORM_HEADER = "x-ringfence-denial-form"
"""`tool_use` (default) or `text`: how a denied tool call is written for a client that stops at an unknown tool."""
OWN_HEADER_PREFIX = "x-ringfence-"
"""Request headers with this prefix are ours and never reach an upstream."""

REQUEST_ID_HEADER = "request-id"
DECISION_HEADER = "x-ringfence-decision"
REASON_HEADER = "x-ringfence-reason"
"""On what the gateway itself says in place of an upstream's answer: why, as a member of `errors.Reason`."""
REASON_MEMBER = "ringfence_reason"
"""The same in `error`, where a stream that has begun ends with what the gateway says: its headers are gone by then."""
SHOULD_RETRY_HEADER = "x-should-retry"
BRIDGED_HEADER = "x-ringfence-bridged"
"""`feature=action, ...`: what was dropped or changed because the upstream lacks it."""

DENIED_TOOL = "ringfence_denied"
"""Name of the tool that does not exist, as which a denied tool call is written (DESIGN 6)."""

MAIN_AGENT = "main"

BODY_BYTES_MAX = 32 * 1024 * 1024
"""The Messages API's own limit (413 above it)."""
JSON_DEPTH_MAX = 500
"""Nesting of a body that is sure to be read. What the decoder cannot follow (about 900) is a 400 with the place."""
TOOL_INPUT_DEPTH_MAX = 100
"""Deepest tool input that is decided; the embedded engine refuses documents near 128 levels."""
HEADER_VALUE_CHARS_MAX = 256
"""Longest session, agent or run id, and path tag."""
HOLD_PING_SECONDS = 15.0
"""Longest silence towards a client while a block is held (Claude Code aborts at 300 s)."""


def error_envelope(error_type: str, message: str, request_id: str | None = None, *, reason: str | None = None) -> bytes:
    """The Messages API's error body: `{"type":"error","error":{"type","message"},"request_id"}`."""
    error = {"type": error_type, "message": message}
    if reason is not None:
        error[REASON_MEMBER] = reason
    envelope: dict[str, object] = {"type": "error", "error": error}
    if request_id is not None:
        envelope["request_id"] = request_id
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
