"""What the clouds share that speak the Claude API's own dialect. Not their credentials."""

from tests.support.clouds import strict
from tests.support.clouds.cloud import Normal, Rejected, header_betas, read_object
from tests.support.upstream import Received

BODY_BYTES_MAX = 32 * 1024 * 1024
COUNTING = "/count_tokens"


def read_messages(received: Received, prefix: str) -> Normal:
    """A request to `<prefix>/v1/messages` or its token counting. Raises Rejected."""
    path = received.raw_path.partition("?")[0]
    if path not in (f"{prefix}/v1/messages", f"{prefix}/v1/messages{COUNTING}"):
        raise Rejected(404, "path", f"{path} is not served here")
    body = read_object(received.body)
    version = received.header("anthropic-version")
    if version is None:
        raise Rejected(400, "body", "anthropic-version: header is required")
    if not isinstance(body.get("model"), str):
        raise Rejected(400, "body", "model: Field required")
    stream = body.get("stream") is True
    return Normal(body, header_betas(received), version, body["model"], stream, path.endswith(COUNTING))


def judge_messages(received: Received, normal: Normal, rules: strict.Rules) -> None:
    """Raises Rejected with every rule that the request breaks."""
    if len(received.body) > BODY_BYTES_MAX:
        raise Rejected(413, "body", "Request exceeds the maximum size")
    judged = strict.Judged(normal.body, normal.betas, normal.version, normal.model, normal.counts)
    found = strict.problems(judged, rules)
    if found:
        raise Rejected(400, "body", *found)
