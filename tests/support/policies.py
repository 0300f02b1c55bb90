"""The packaged policies with their default settings, ready to be asked. One engine for all tests of a process."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.decisions.decision import Decision, Query
from gateway.policy.bundle import Bundle, load_bundle
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.ruletests import complete_query
from gateway.policy.settings import merge_settings

POLICIES = Path(__file__).parents[2] / "policies"


@cache
def packaged_bundle() -> Bundle:
    """The policies that come with the project."""
    return load_bundle(POLICIES)


SMALL_RULES = ("models/allowlist", "tools/denylist")


@cache
def small_bundle() -> Bundle:
    """A whole set of two of the packaged rules, for tests that check or push one again and again."""
    kept = ("main.rego", "lib/", "schema/", "data/", *(f"rules/{rule}/" for rule in SMALL_RULES))
    files = {name: text for name, text in packaged_bundle().files.items() if name.startswith(kept)}
    defaults = files["data/defaults.yaml"].replace("modes:\n  shell/unclear: shadow\n", "modes: {}\n")
    return Bundle({**files, "data/defaults.yaml": defaults})


def write_small(folder: Path) -> Path:
    """The small set as a policy directory that may be changed."""
    for name, text in small_bundle().files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


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
