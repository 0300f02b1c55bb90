"""The four ways in which Claude Code speaks to a model: what it must be told to use each, and where it then sends."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """One of them. `{url}` and `{credential}` in `variables` stand for the gateway's."""

    name: str
    model: str
    variables: Mapping[str, str]
    path: str
    """What the path of a model request holds."""

    def environment(self, url: str, credential: str) -> dict[str, str]:
        return {name: value.format(url=url, credential=credential) for name, value in self.variables.items()}


ANTHROPIC = Mode(
    "anthropic",
    "claude-opus-4-8",
    {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_AUTH_TOKEN": "{credential}"},
    "/v1/messages",
)
BEDROCK = Mode(
    "bedrock",
    "us.anthropic.claude-opus-4-8",
    {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": "{url}",
        "AWS_REGION": "us-east-1",
        "ANTHROPIC_AUTH_TOKEN": "{credential}",
    },
    "/model/us.anthropic.claude-opus-4-8/invoke",
)
VERTEX = Mode(
    "vertex",
    "claude-opus-4-8",
    {
        "CLAUDE_CODE_USE_VERTEX": "1",
        "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
        "ANTHROPIC_VERTEX_BASE_URL": "{url}/v1",
        "ANTHROPIC_VERTEX_PROJECT_ID": "anything",
        "CLOUD_ML_REGION": "us-east5",
        "ANTHROPIC_AUTH_TOKEN": "{credential}",
    },
    "/v1/projects/anything/locations/us-east5/publishers/anthropic/models/claude-opus-4-8:",
)
FOUNDRY = Mode(
    "foundry",
    "claude-opus-4-8",
    {
        "CLAUDE_CODE_USE_FOUNDRY": "1",
        "ANTHROPIC_FOUNDRY_BASE_URL": "{url}/anthropic",
        "ANTHROPIC_FOUNDRY_API_KEY": "{credential}",
    },
    "/anthropic/v1/messages",
)
MODES = (ANTHROPIC, BEDROCK, VERTEX, FOUNDRY)
