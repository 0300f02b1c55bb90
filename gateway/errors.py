"""The closed list of why a request, tool call or run ended, and the one error that carries a member of it.

Not the HTTP answers: `web/answers.py` alone turns a reason into a status and an envelope.

    GatewayError(reason)          anything we refuse or fail; the reason is the cause, never the audience
    +- Refused                    with what the client needs to act on it: retry-after, rate-limit headers
    +- Unsendable                 an upstream could not be sent this request; nothing is known of the upstream
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why something ended. Also the label of metrics, logs and audit records: closed, so bounded."""

    COMPLETED = "completed"
    """The upstream answered and the whole answer was relayed."""

    CREDENTIAL_MISSING = "credential_missing"
    CREDENTIAL_INVALID = "credential_invalid"
    CREDENTIAL_CONFLICT = "credential_conflict"
    FORBIDDEN = "forbidden"
    """A valid credential asked for an operator's path without being an operator's."""

    NOT_FOUND = "not_found"
    BODY_MALFORMED = "body_malformed"
    BODY_TOO_LARGE = "body_too_large"
    MODEL_UNROUTED = "model_unrouted"
    MODEL_UNPRICED = "model_unpriced"
    CAPABILITY_MISSING = "capability_missing"
    """The request needs what no upstream of its route has, and it can be neither left out nor written otherwise."""

    POLICY_DENIED = "policy_denied"
    POLICY_FAILED = "policy_failed"
    """The engine raised, answered undefined, or asked for an obligation we do not know: denied."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    RATE_LIMITED = "rate_limited"
    """A limit on how many at once, or within a short time: the same request is welcome again soon."""
    FUSE_BLOWN = "fuse_blown"
    SESSION_TAKEN = "session_taken"
    """The session id was first used by another credential."""
    STOPPED = "stopped"
    """A named person stopped the agent, its session, user or team, or everything; or its run ended the request."""
    HELD = "held"
    """As stopped, but only for a while: the same request is welcome again."""

    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"

    UPSTREAMS_DOWN = "upstreams_down"
    """Every upstream of the route has an open breaker or no free slot; nothing was sent."""
    UPSTREAM_REFUSED = "upstream_refused"
    """The upstream answered with an error status; its answer was passed on as it came."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_BROKE = "upstream_broke"
    """The upstream's answer ended early or could not be read after it had begun."""

    CLIENT_GONE = "client_gone"
    INTERNAL = "internal"


class GatewayError(Exception):
    """Something ended for `reason`. `message` is shown to the client: one sentence, no secret, with the next step."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Refused(GatewayError):
    """We refuse a request. `headers` are added to the answer (retry-after, anthropic-ratelimit-unified-*)."""

    def __init__(self, reason: Reason, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason, message)
        self.headers = headers or {}


class Unsendable(GatewayError):
    """A request that one upstream cannot be sent for what the request is. No failure of the upstream."""
