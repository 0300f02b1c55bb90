"""The packaged policies with their default settings, ready to be asked. One engine for all tests of a process."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.decision import Decision, Query
from gateway.policy.bundle import Bundle, load_bundle
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.ruletests import complete_query
from gateway.policy.settings import merge_settings

POLICIES = Path(__file__).parents[2] / "policies"


@cache
def packaged_bundle() -> Bundle:
    """The policies that come with the project."""
    return load_bundle(POLICIES)


def build_engine(settings: dict[str, Any] | None = None, extra: dict[str, str] | None = None) -> EmbeddedEngine:
    """An engine over the packaged policies, `settings` over the defaults, and further or replaced files."""
    bundle = Bundle({**packaged_bundle().files, **(extra or {})})
    merged, problems = merge_settings(bundle, settings or {})
    assert not problems, problems
    return EmbeddedEngine(bundle, merged)


@cache
def packaged_engine() -> EmbeddedEngine:
    """The engine with nothing changed."""
    return build_engine()


def build_query(action: dict[str, Any], **parts: Any) -> Query:
    """A whole query around an action; facts of a tool call are the real ones."""
    return msgspec.convert(complete_query({"query": {"action": action, **parts}}), Query)


async def decide_call(tool: str, tool_input: object) -> Decision:
    """The default decision on a tool call in the workspace /home/alice/shop."""
    return await packaged_engine().decide(build_query({"kind": "tool_call", "tool": tool, "input": tool_input}))
