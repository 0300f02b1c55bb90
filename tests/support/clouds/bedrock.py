"""A strict Bedrock runtime: InvokeModel, InvokeModelWithResponseStream and CountTokens on loopback."""

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tests.e2e.script import Block, Script
from tests.support.clouds import strict
from tests.support.clouds.cloud import COUNTED_TOKENS, Cloud, Normal, Rejected, read_object, say_hello
from tests.support.clouds.eventstream import EVENT_STREAM_HEADERS, event_stream_answer, reframe
from tests.support.clouds.signatures import Keys, Scope, check_signature
from tests.support.upstream import Answer, Received, json_answer

BODY_BYTES_MAX = 20 * 1024 * 1024
BEARER = "fake-bedrock-bearer"
OPERATIONS = {"invoke": False, "invoke-with-response-stream": True, "count-tokens": False}
VERSIONS = {"bedrock-2023-05-31": strict.OLD_VERSION, "2026-10-21": strict.NEW_VERSION}
RULES = strict.Rules(
    fields=strict.FIELDS | {"context_management", "fallback_credit_token"},
    betas=(
        "compact-2026-01-12",
        "computer-use-",
        "context-1m-",
        "context-management-",
        "effort-",
        "fallback-credit-",
        "fine-grained-tool-streaming-",
        "interleaved-thinking-",
        "mid-conversation-tool-changes-",
        "tool-search-tool-2025-10-19",
    ),
    tools_refused=(
        "advisor_",
        "browser_toolset_",
        "code_execution_",
        "computer_toolset_",
        "mcp_toolset",
        "web_fetch_",
        "web_search_",
    ),  # fmt: skip
    sources_refused=("url", "file"),
    cache_scopes=False,
    by_version_suffix=True,
)
_MODEL_ID = re.compile(
    r"(?:(?:global|us|eu|jp|au|apac|us-gov)\.)?anthropic\.claude-[a-z0-9-]+(?:-v\d+(?::\d+)?)?"
    r"|arn:aws(?:-[a-z-]+)?:bedrock:[a-z0-9-]+:\d{0,12}:(?:application-inference-profile|inference-profile"
    r"|foundation-model|provisioned-model)/[A-Za-z0-9.:-]+"
)
_GEOGRAPHY = re.compile(r"(?:global|us|eu|jp|au|apac|us-gov)\.")
_EXCEPTIONS = {
    "path": "UnknownOperationException",
    "credential": "UnrecognizedClientException",
    "unknown": "ResourceNotFoundException",
    "body": "ValidationException",
}


class FakeBedrock(Cloud):
    """Takes signatures of `keys` and the bearer. `models` says which model an opaque ARN stands for."""

    def __init__(
        self,
        play: Script = say_hello,
        *,
        keys: Keys | None = None,
        region: str = "us-east-1",
        models: Mapping[str, str] | None = None,
        rules: strict.Rules = RULES,
    ) -> None:
        super().__init__(play)
        self.keys = keys or Keys()
        self.bearer = BEARER
        self._scope = Scope(region, "bedrock")
        self._models = dict(models or {})
        self._rules = rules

    def read(self, received: Received) -> Normal:
        model_id, operation = _read_path(received.raw_path)
        body = read_object(received.body)
        if operation == "count-tokens":
            body = read_object(_unwrap(body))
        betas = body.pop("anthropic_beta", [])
        version = str(body.pop("anthropic_version", ""))
        moved = [f"{name}: {strict.EXTRA}" for name in ("model", "stream") if name in body]
        if not version:
            moved.append("anthropic_version: Field required")
        elif version not in VERSIONS:
            moved.append(f"anthropic_version: {version!r} is not a version that Bedrock knows")
        if not isinstance(betas, list) or not all(isinstance(beta, str) for beta in betas):
            moved.append("anthropic_beta: Input should be a valid list")
        if moved:
            raise Rejected(400, "body", *moved)
        model = self._models.get(model_id) or claude_id(model_id)
        streams = OPERATIONS[operation]
        told = {"model": model} | body | ({"stream": True} if streams else {})
        return Normal(told, tuple(betas), VERSIONS[version], model, streams, operation == "count-tokens")

    def judge(self, received: Received, normal: Normal) -> None:
        if received.header("authorization") != f"Bearer {self.bearer}":
            check_signature(received, self.keys, self._scope)
        if len(received.body) > BODY_BYTES_MAX:
            raise Rejected(413, "body", "Input is too long for requested model.")
        judged = strict.Judged(normal.body, normal.betas, normal.version, normal.model)
        found = strict.problems(judged, self._rules)
        if found:
            raise Rejected(400, "body", *found)

    def refuse(self, rejected: Rejected) -> Answer:
        return bedrock_error(rejected.status, _EXCEPTIONS[rejected.kind], rejected.sentences[0])

    def count(self, _: Normal) -> Answer:
        return json_answer({"inputTokens": COUNTED_TOKENS}, (("x-amzn-requestid", "6f1d2c3b-test"),))

    def speak(self, normal: Normal, blocks: Sequence[Block], **facts: Any) -> Answer:
        if normal.stream:
            return event_stream_answer(blocks, **facts)
        answer = super().speak(normal, blocks, **facts)
        return dataclasses.replace(answer, headers=_own_headers(answer))

    def dress(self, answer: Answer) -> Answer:
        """Server-sent events of the script's become frames; any other answer is taken as it is."""
        if ("content-type", "text/event-stream") not in [(name, value.split(";")[0]) for name, value in answer.headers]:
            return answer
        chunks = [reframe(chunk) if isinstance(chunk, bytes) else chunk for chunk in answer.chunks]
        return dataclasses.replace(answer, headers=EVENT_STREAM_HEADERS, chunks=chunks)


def bedrock_error(status: int, exception: str, message: str) -> Answer:
    """An error as the Bedrock runtime writes it."""
    headers = (
        ("content-type", "application/json"),
        ("x-amzn-requestid", "6f1d2c3b-test"),
        ("x-amzn-errortype", f"{exception}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
    )
    return Answer(status, headers, [json.dumps({"message": message}).encode()])


def claude_id(model_id: str) -> str:
    """The Claude API's id in a Bedrock id or ARN; the id itself when it holds none."""
    found = re.search(r"anthropic\.(claude-[a-z0-9-]+?)(?:-v\d+(?::\d+)?)?$", model_id)
    return found[1] if found else model_id


def _own_headers(answer: Answer) -> list[tuple[str, str]]:
    """Bedrock names its requests otherwise, and tells the tokens of a whole answer."""
    kept = [(name, value) for name, value in answer.headers if name != "request-id"]
    counts = [("x-amzn-bedrock-input-token-count", "100"), ("x-amzn-bedrock-output-token-count", "20")]
    return [*kept, ("x-amzn-requestid", "6f1d2c3b-test"), *counts]


def _read_path(raw_path: str) -> tuple[str, str]:
    parts = raw_path.split("/")
    if len(parts) != 4 or parts[:2] != ["", "model"] or parts[3] not in OPERATIONS:
        raise Rejected(404, "path", f"{raw_path} is not a path of the Bedrock runtime")
    model_id = unquote(parts[2])
    if not _MODEL_ID.fullmatch(model_id):
        raise Rejected(400, "body", f"The provided model identifier is invalid: {model_id}")
    if parts[3] == "count-tokens" and _GEOGRAPHY.match(model_id):
        raise Rejected(400, "body", f"The provided model doesn't support counting tokens: {model_id}")
    return model_id, parts[3]


def _unwrap(body: dict[str, Any]) -> bytes:
    try:
        (invocation,) = body.pop("input").values()
        encoded = invocation.pop("body")
        assert not body and not invocation
        return base64.b64decode(encoded, validate=True)
    except (KeyError, ValueError, AttributeError, TypeError, AssertionError, binascii.Error):
        raise Rejected(400, "body", "input.invokeModel.body is required and nothing else") from None
