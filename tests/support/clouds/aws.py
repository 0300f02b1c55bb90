"""A strict Claude Platform on AWS: the Claude API's own dialect behind a workspace id and AWS's signatures."""

from tests.e2e.script import Script
from tests.support.clouds import strict
from tests.support.clouds.cloud import Cloud, Normal, Rejected, envelope, say_hello
from tests.support.clouds.firstparty import judge_messages, read_messages
from tests.support.clouds.signatures import Keys, Scope, check_signature
from tests.support.upstream import Answer, Received

API_KEY = "fake-platform-key"
WORKSPACE = "wrkspc_fake"
RULES = strict.Rules(
    fields=strict.FIELDS | strict.FIRST_PARTY_FIELDS | set(strict.BETA_FIELDS) - {"fallbacks"},
    betas=None,
    tools_refused=("browser_toolset_", "computer_toolset_"),
)
_ERRORS = {
    "path": "not_found_error",
    "credential": "authentication_error",
    "unknown": "not_found_error",
    "body": "invalid_request_error",
}


class FakeAws(Cloud):
    """Takes signatures of `keys`, and the API key as the documents and as the SDK send it."""

    def __init__(self, play: Script = say_hello, *, keys: Keys | None = None, region: str = "us-east-1") -> None:
        super().__init__(play)
        self.keys = keys or Keys()
        self.api_key = API_KEY
        self.workspace = WORKSPACE
        self._scope = Scope(region, "aws-external-anthropic")

    def read(self, received: Received) -> Normal:
        return read_messages(received, "")

    def judge(self, received: Received, normal: Normal) -> None:
        if received.header("anthropic-workspace-id") != self.workspace:
            raise Rejected(400, "body", "anthropic-workspace-id: the id of a workspace is required")
        keyed = received.header("x-api-key") == self.api_key
        if not keyed and received.header("authorization") != f"Bearer {self.api_key}":
            check_signature(received, self.keys, self._scope)
        if normal.body.get("speed") == "fast":
            raise Rejected(400, "body", "speed: fast mode is not available here")
        judge_messages(received, normal, RULES)

    def refuse(self, rejected: Rejected) -> Answer:
        headers = (("request-id", "req_cloud"), ("x-amzn-requestid", "6f1d2c3b-test"))
        return envelope(rejected.status, _ERRORS[rejected.kind], rejected.sentences[0], headers)
