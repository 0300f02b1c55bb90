"""A strict Microsoft Foundry resource: Messages under /anthropic, models by the names of their deployments."""

import dataclasses
import json
from collections.abc import Mapping

from tests.e2e.script import Script
from tests.support.clouds import strict
from tests.support.clouds.cloud import Cloud, Normal, Rejected, envelope, say_hello
from tests.support.clouds.firstparty import judge_messages, read_messages
from tests.support.upstream import Answer, Received

API_KEY = "fake-foundry-key"
BEARER = "fake-entra-token"
DEPLOYMENTS: Mapping[str, str] = {"our-opus": "claude-opus-5-5", "our-sonnet": "claude-sonnet-4-5-20250929"}
RULES = strict.Rules(
    fields=strict.FIELDS
    | strict.FIRST_PARTY_FIELDS - {"inference_geo"}
    | set(strict.BETA_FIELDS) - {"compaction", "fallbacks", "thread"},
    betas=None,
    tools_refused=("advisor_", "browser_toolset_", "computer_toolset_"),
)


class FakeFoundry(Cloud):
    """Takes the key in both its headers, or an Entra token. A deployment may bear its model's own name."""

    def __init__(self, play: Script = say_hello, *, deployments: Mapping[str, str] = DEPLOYMENTS) -> None:
        super().__init__(play)
        self.api_key = API_KEY
        self.bearer = BEARER
        self._deployments = dict(deployments)

    def read(self, received: Received) -> Normal:
        normal = read_messages(received, "/anthropic")
        if normal.model not in self._deployments:
            raise Rejected(404, "unknown", "The API deployment for this resource does not exist.")
        return dataclasses.replace(normal, model=self._deployments[normal.model])

    def judge(self, received: Received, normal: Normal) -> None:
        keys = (received.header("x-api-key"), received.header("api-key"))
        if keys != (self.api_key, self.api_key) and received.header("authorization") != f"Bearer {self.bearer}":
            raise Rejected(401, "credential", "Access denied due to invalid subscription key or wrong API endpoint.")
        judge_messages(received, normal, RULES)

    def refuse(self, rejected: Rejected) -> Answer:
        if rejected.kind == "body":
            headers = (("request-id", "req_cloud"), ("apim-request-id", "3c9d-test"))
            return envelope(rejected.status, "invalid_request_error", rejected.sentences[0], headers)
        code = {"credential": "401", "path": "404", "unknown": "DeploymentNotFound"}[rejected.kind]
        return azure_error(rejected.status, code, rejected.sentences[0])


def azure_error(status: int, code: str, message: str) -> Answer:
    """An error as Azure's front writes it, before the model's service has seen the request."""
    headers = (("content-type", "application/json"), ("apim-request-id", "3c9d-test"))
    return Answer(status, headers, [json.dumps({"error": {"code": code, "message": message}}).encode()])
