"""A strict Vertex AI: rawPredict, streamRawPredict and token counting of Claude models on loopback."""

import json
import re
from typing import Any
from urllib.parse import unquote

from tests.e2e.script import Script
from tests.support.clouds import strict
from tests.support.clouds.cloud import Cloud, Normal, Rejected, envelope, header_betas, read_object, say_hello
from tests.support.upstream import Answer, Received

BODY_BYTES_MAX = 30 * 1024 * 1024
BEARER = "fake-vertex-token"
PROJECT = "proj-x"
LOCATION = "us-east5"
VERSIONS = {"vertex-2023-10-16": strict.OLD_VERSION, "2026-10-21": strict.NEW_VERSION}
COUNTING = "count-tokens"
RULES = strict.Rules(
    fields=strict.FIELDS | {"context_management", "fallback_credit_token", "speed"},
    betas=(
        "claude-code-20250219",
        "compact-2026-01-12",
        "computer-use-",
        "context-1m-",
        "context-management-",
        "fallback-credit-",
        "interleaved-thinking-",
        "mid-conversation-tool-changes-",
        "tool-search-tool-2025-10-19",
        "web-search-",
    ),
    tools_refused=("advisor_", "browser_toolset_", "code_execution_", "computer_toolset_", "mcp_toolset", "web_fetch_"),
    sources_refused=("url", "file"),
    cache_scopes=False,
)
_PATH = re.compile(
    r"/v1/projects/([^/]+)/locations/([^/]+)/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)"
)
_MODEL_ID = re.compile(r"claude-[a-z0-9-]+(?:@(?:\d{8}|default|latest))?")
_STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


class FakeVertex(Cloud):
    """Takes the bearer only. Its own refusals are Google's errors, those of the model are the Claude API's."""

    def __init__(
        self,
        play: Script = say_hello,
        *,
        project: str = PROJECT,
        location: str = LOCATION,
        rules: strict.Rules = RULES,
    ) -> None:
        super().__init__(play)
        self._rules = rules
        self.bearer = BEARER
        self._place = (project, location)

    def read(self, received: Received) -> Normal:
        model_id, method = self._read_path(received.raw_path)
        counts = model_id == COUNTING
        body = read_object(received.body)
        version = str(body.pop("anthropic_version", ""))
        moved = _misplaced(body, counts=counts, streams=method == "streamRawPredict")
        if not version:
            moved.append("anthropic_version: Field required")
        elif version not in VERSIONS:
            moved.append(f"anthropic_version: {version!r} is not a version that Vertex knows")
        if moved:
            raise Rejected(400, "body", *moved)
        model_id = body["model"] if counts else model_id
        if not _MODEL_ID.fullmatch(model_id):
            raise Rejected(404, "unknown", f"Publisher Model `{model_id}` was not found or your project has no access")
        model = re.sub(r"@(?:default|latest)$", "", model_id).replace("@", "-")
        told: dict[str, Any] = {"model": model} | {name: value for name, value in body.items() if name != "model"}
        return Normal(told, header_betas(received), VERSIONS[version], model, bool(body.get("stream")), counts)

    def judge(self, received: Received, normal: Normal) -> None:
        if received.header("authorization") != f"Bearer {self.bearer}":
            raise Rejected(401, "credential", "Request had invalid authentication credentials.")
        if received.header("x-goog-user-project") is not None:
            raise Rejected(403, "credential", "x-goog-user-project is a client's")
        if len(received.body) > BODY_BYTES_MAX:
            raise Rejected(413, "body", "Prompt is too long")
        judged = strict.Judged(normal.body, normal.betas, normal.version, normal.model, normal.counts)
        found = strict.problems(judged, self._rules)
        if normal.body.get("speed") == "fast" and not strict.is_since(normal.model, (5, 2)):
            found.append("speed: fast is not available for this model")
        if found:
            raise Rejected(400, "body", *found)

    def refuse(self, rejected: Rejected) -> Answer:
        if rejected.kind == "body":
            return envelope(rejected.status, "invalid_request_error", rejected.sentences[0])
        return google_error(rejected.status, _STATUSES[rejected.status], rejected.sentences[0])

    def _read_path(self, raw_path: str) -> tuple[str, str]:
        found = _PATH.fullmatch(raw_path)
        if found is None or "%40" in found[3]:
            raise Rejected(404, "path", f"{raw_path} is not a path of Vertex")
        if (found[1], found[2]) != self._place:
            raise Rejected(403, "credential", f"Permission denied on resource project {found[1]} in {found[2]}")
        return unquote(found[3]), found[4]


def google_error(status: int, word: str, message: str, *, array: bool = False) -> Answer:
    """An error as Google's platform writes it; as an array on streaming methods."""
    error = {"error": {"code": status, "message": message, "status": word}}
    body = json.dumps([error] if array else error, indent=2).encode()
    return Answer(status, (("content-type", "application/json; charset=UTF-8"),), [body])


def _misplaced(body: dict[str, Any], *, counts: bool, streams: bool) -> list[str]:
    found: list[str] = []
    if counts and "model" not in body:
        found.append("model: Field required")
    if not counts and "model" in body:
        found.append(f"model: {strict.EXTRA}")
    if "anthropic_beta" in body:
        found.append(f"anthropic_beta: {strict.EXTRA}")
    if bool(body.get("stream")) != streams:
        found.append("stream: does not agree with the method")
    return found
