"""Whatever the file holds, it becomes a whole Config or a list of problems, and no problem shows a secret."""

import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import Config, ConfigInvalid, parse_config

SECRET = "hunter2-hunter2-hunter2"
ENVIRON = {"SECRET": SECRET}
GOOD = """\
listen: {host: 127.0.0.1, port: 8080}
metrics: {port: 9464}
store: {url: "sqlite:///m.db"}
policy: {engine: embedded, mode: shadow, rules: {shell/unclear: off}, settings: {a: [1, 2.5, true, x]}}
org: {id: acme, teams: [{id: platform, users: [alice, bob]}]}
identity:
  credentials: [{id: laptop, secret: "${SECRET}", user: alice, operator: true, groups: [g], tags: {k: v}}]
upstreams:
  - {id: claude, backend: anthropic, base_url: "https://x", api_key: "${SECRET}", headers: {a: b}}
  - {id: sim, backend: simulated}
  - id: bedrock-us
    backend: bedrock
    region: us-east-1
    profile: us
    bearer: "${SECRET}"
    models: {claude-opus-5-5: "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"}
    capabilities: {web_search: false, system_entries: ["claude-opus-5*"]}
    betas: {context-1m-2025-08-07: drop, a-2025-01-01: b-2026-01-01}
    price_multiplier: 0.9
    concurrent_max: 50
    queue_seconds: 30
    breaker: {failures: 5, open_seconds: 15}
routes:
  - models: ["claude-*"]
    upstreams: [claude, bedrock-us]
    weights: {claude: 3}
    principals: ["team:platform", "tag:a=b"]
  - {models: ["*"], upstreams: [sim]}
aliases: {opus: claude-opus-5-5}
budgets:
  - {account: "team:platform", window: daily, limit_usd: 0.5, strict: true}
fuses: {agent: {requests: 300, cost_usd: 5}, session: {depth: 4}, run: {agents: 9}}
audit: {path: stdout, rotate_bytes: 1000000, keep: 3}
prices: {fallback_model: claude-opus-5-5}
"""


def load(text: str) -> Config | ConfigInvalid:
    try:
        return parse_config(text, Path("/ringfence.yaml"), ENVIRON)
    except ConfigInvalid as invalid:
        assert invalid.problems
        assert SECRET not in str(invalid)
        return invalid


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    scalars | st.sampled_from(["${SECRET}", "${UNSET}", "${file:/x}", "$${", "${", "team:platform", "sim", "off"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_good_configuration_is_read() -> None:
    assert isinstance(load(GOOD), Config)


@given(st.text(max_size=200))
@example("? [a]\n: b")
@example("a: \x85")
@example("{? a, ? b}")
@example("<<: {a: 1}")
@example("a: |\n \ud800")
def test_any_text_gives_a_config_or_problems(text: str) -> None:
    load(text)


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=6))
def test_damaged_configuration_gives_a_config_or_problems(start: int, length: int, inserted: str) -> None:
    load(GOOD[:start] + inserted + GOOD[start + length :])


def paths(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for key, value in inner for found in paths(value, (*path, key)))]


def replaced(node: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    copy: Any = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


DOCUMENT: dict[str, Any] = {
    "listen": {"host": "127.0.0.1", "port": 8080},
    "policy": {"mode": "enforce", "rules": {"a/b": "off"}, "settings": {"x": [1]}},
    "org": {"id": "acme", "teams": [{"id": "platform", "users": ["alice"]}]},
    "identity": {"credentials": [{"id": "laptop", "secret": "${SECRET}", "user": "alice", "tags": {"a": "b"}}]},
    "upstreams": [
        {"id": "c", "backend": "anthropic", "bearer": "${SECRET}", "headers": {"a": "${SECRET}"}},
        {
            "id": "v",
            "backend": "vertex",
            "region": "global",
            "project": "p",
            "models": {"m": "n"},
            "capabilities": {"web_search": ["m*"]},
            "betas": {"b": "drop"},
            "price_multiplier": 1,
            "breaker": {"failures": 1},
        },
    ],
    "routes": [{"models": ["*"], "upstreams": ["c", "v"], "weights": {"c": 1}, "principals": ["user:alice"]}],
    "budgets": [{"account": "org", "window": "total", "limit_usd": 1}],
    "fuses": {"agent": {"cost_usd": 1}},
}


@given(st.sampled_from(paths(DOCUMENT)), trees)
def test_any_value_anywhere_gives_a_config_or_problems(path: tuple[str | int, ...], value: Any) -> None:
    load(json.dumps(replaced(DOCUMENT, path, value)))
