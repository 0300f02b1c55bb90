"""A strict Claude API: its own dialect with everything it has. What the other clouds lack is theirs to say."""

from tests.support.clouds import strict
from tests.support.clouds.cloud import Cloud, Normal, Rejected, envelope
from tests.support.clouds.firstparty import judge_messages, read_messages
from tests.support.upstream import Answer, Received

API_KEY = "fake-claude-key"
RULES = strict.Rules(
    fields=strict.FIELDS | strict.FIRST_PARTY_FIELDS | set(strict.BETA_FIELDS),
    betas=None,
)
_ERRORS = {
    "path": "not_found_error",
    "credential": "authentication_error",
    "unknown": "not_found_error",
    "body": "invalid_request_error",
}


class FakeClaude(Cloud):
    """Takes one API key, in its own header."""

    def read(self, received: Received) -> Normal:
        return read_messages(received, "")

    def judge(self, received: Received, normal: Normal) -> None:
        if received.header("x-api-key") != API_KEY:
            raise Rejected(401, "credential", "invalid x-api-key")
        judge_messages(received, normal, RULES)

    def refuse(self, rejected: Rejected) -> Answer:
        headers = (("request-id", "req_cloud"),)
        return envelope(rejected.status, _ERRORS[rejected.kind], rejected.sentences[0], headers)
