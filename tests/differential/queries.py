"""Queries for asking two engines the same: made of the examples beside the rules, changed at random by a seed.

Every kind, every tool and every setting of the examples comes up; so do shell lines glued of several, fields that are
missing, and texts that nobody expects. The same seed gives the same queries.
"""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.decisions.decision import Query
from gateway.policy.bundle import Bundle
from gateway.policy.ruletests import complete_query

JOINERS = (" && ", " | ", "; ", " || ", "\n", " & ")
ODD_TEXTS = (
    "", " ", "*", "**", "a b", "ü", "\U0001f600", "\ufffd", "%s%d", '"quoted"', "{a,b}", "[a-z]", "[", "\\", "/", "..",
    "~", "null", "true", "0", "x" * 300, "\x00", "a\tb", "é\u0301", "claude-*", "main", "$(x)", "`x`", "line\nline",
)  # fmt: skip
ODD_VALUES = (None, True, False, 0, -1, 1.5, 2**53 + 1, 10**30, 1e-9, "", "x", [], {}, [None], {"a": 1}, ["x", 1])
PRINCIPALS = (
    {"user": "alice", "team": "platform"},
    {"user": "bob", "team": None},
    {"user": "ivy", "team": "interns", "groups": ["ci", "night"]},
    {"user": "Ünal", "team": "", "groups": []},
)
MODES = ("enforce", "shadow", "off")

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "as they come": {},
    "whole gateway in shadow": {"mode": "shadow"},
    "models by name": {
        "models": {
            "allow": ["claude-haiku-*", "claude-[os]*-4-?"],
            "users": {"bob": []},
            "groups": {"ci": ["*"]},
            "teams": {"interns": ["claude-haiku-*", "gpt-*"]},
        },
        "spawn": {
            "models": {
                "allow": {"Explore": ["claude-haiku-*"], "*": ["claude-*"]},
                "route": {"Plan": "claude-haiku-4-5"},
            }
        },
    },
    "tools by name": {
        "tools": {
            "allow": ["Bash", "Read", "mcp__*", "W*"],
            "agent_types": {"Explore": ["Read", "Grep"], "main": ["*"]},
            "deny": [
                "WebSearch",
                {"tool": "Bash", "commands": ["git push *", "kubectl *", "rm"]},
                {"tool": "mcp__*", "input": {"query": "(?i)drop +table"}},
                {"tool": "*", "agent_types": ["Explore"], "input": {"file_path": "^/etc"}},
            ],
            "approve": ["WebFetch", {"tool": "Bash", "commands": ["git *"], "reason": "ask first"}],
            "server_tools": [],
            "mcp_hosts": ["*.acme.example", "mcp.example.com"],
        }
    },
    "narrow network": {"network": {"allow": ["github.com", "*.acme.example"], "deny": ["evil.*"], "loopback": False}},
    "private network": {"network": {"private": True, "deny": ["10.*"]}},
    "narrow trees": {
        "spawn": {
            "agent_types": ["Explore", "general-*"],
            "depth": 0,
            "width": 1,
            "total": 1,
            "per_minute": 1,
            "user": {"width": 1, "per_minute": 1},
            "types": {"parents": {"main": ["Explore"], "*": []}, "teams": {"interns": ["Explore"]}},
        }
    },
    "open scripts": {"workflows": {"opaque": True, "fan_out": 0, "unbounded": False, "approve_above": 0}},
    "listed scripts": {"workflows": {"approved": ["00"], "names": ["audit*"], "models": ["claude-haiku-*"]}},
    "no scripts": {"workflows": {"allow": False}},
    "open files": {
        "files": {"secrets": {"allow": [".env"], "paths": ["*"]}, "workspace": {"writable": ["/"], "protected": ["*"]}},
        "shell": {"package_installs": {"allow": ["lodash", "left-pad@1.*"]}, "destructive": {"branches": ["*"]}},
    },
    "notices": {"notices": [{"text": "be brief"}, {"text": "ask", "teams": ["interns"], "models": ["claude-*"]}]},
}  # fmt: skip
"""Laid over the defaults, besides one with every rule in shadow, one with every rule off, and one that mixes them."""


def settings_variants(bundle: Bundle) -> dict[str, Mapping[str, Any]]:
    """Settings to ask under, by what they are."""
    mixed = {rule: MODES[at % len(MODES)] for at, rule in enumerate(bundle.rules)}
    return {
        **SETTINGS,
        "every rule in shadow": {"modes": dict.fromkeys(bundle.rules, "shadow")},
        "every rule off": {"modes": dict.fromkeys(bundle.rules, "off")},
        "mixed modes": {"modes": mixed},
        "mixed modes in shadow": {"modes": mixed, "mode": "shadow"},
    }


def examples(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Every example beside a rule, by its file."""
    return {
        name: json.loads(text) for name, text in bundle.files.items() if "/examples/" in name and name.endswith(".json")
    }


class Maker:
    """Makes queries of one seed."""

    def __init__(self, bundle: Bundle, seed: int) -> None:
        self.random = random.Random(seed)
        self.seeds = [example["query"] for example in examples(bundle).values()]
        self.leaves: dict[str, list[Any]] = {}
        for query in self.seeds:
            for path, value in _leaves(query, ()):
                self.leaves.setdefault(path[-1] if isinstance(path[-1], str) else "", []).append(value)

    def typed(self) -> Query:
        """A query as the gateway could send it."""
        while True:
            try:
                return msgspec.convert(complete_query({"query": self._partial()}), Query)
            except (msgspec.ValidationError, UnicodeEncodeError):
                continue

    def raw(self) -> dict[str, Any]:
        """A document that lacks something."""
        whole = msgspec.to_builtins(self.typed())
        for _ in range(self.random.randint(1, 3)):
            path = self.random.choice([path for path, _ in _leaves(whole, ()) if path])
            cut = path[: self.random.randint(1, len(path))]
            del _at(whole, cut[:-1])[cut[-1]]
        return whole

    def _partial(self) -> dict[str, Any]:
        query = copy.deepcopy(self.random.choice(self.seeds))
        for _ in range(self.random.randint(0, 4)):
            self._change(query)
        tool_input = query["action"].get("input")
        if isinstance(tool_input, dict) and tool_input and self.random.random() < 0.2:
            tool_input[self.random.choice(list(tool_input))] = copy.deepcopy(self.random.choice(ODD_VALUES))
        if isinstance(tool_input, dict) and isinstance(tool_input.get("command"), str):
            tool_input["command"] = self._line(tool_input["command"])
        if self.random.random() < 0.3:
            query["principal"] = {**query.get("principal", {}), **self.random.choice(PRINCIPALS)}
        if self.random.random() < 0.2:
            query.setdefault("lineage", {})["workspace"] = self.random.choice((None, "/", "/home/alice/shop", "/srv/ü"))
        return query

    def _line(self, line: str) -> str:
        lines = [str(value) for value in self.leaves.get("command", [])]
        for _ in range(self.random.choice((0, 0, 1, 2))):
            line += self.random.choice(JOINERS) + self.random.choice(lines)
        return line

    def _change(self, query: dict[str, Any]) -> None:
        path, value = self.random.choice(list(_leaves(query, ())))
        name = path[-1] if isinstance(path[-1], str) else ""
        if path == ("action", "kind"):
            return
        if isinstance(value, str) and self.random.random() < 0.4:
            new: Any = self.random.choice((value + self.random.choice(ODD_TEXTS), self.random.choice(ODD_TEXTS)))
        elif isinstance(value, int) and not isinstance(value, bool) and self.random.random() < 0.5:
            new = self.random.choice((0, 1, value + 1, value - 1, 10**6))
        else:
            new = copy.deepcopy(self.random.choice(self.leaves[name]))
        _at(query, path[:-1])[path[-1]] = new


def changed_leaves(whole: Mapping[str, Any], chance: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Copies of a document, each with another value in one place."""
    paths = [path for path, _ in _leaves(whole, ())]
    for path in chance.sample(paths, min(count, len(paths))):
        copied = copy.deepcopy(dict(whole))
        holder, value = _at(copied, path[:-1]), _at(copied, path)
        if isinstance(value, bool):
            holder[path[-1]] = not value
        elif isinstance(value, int):
            holder[path[-1]] = chance.choice((0, 1, value + 1, 10**6))
        else:
            holder[path[-1]] = chance.choice((*ODD_TEXTS, "git push origin main", "rm", "/etc/passwd", "Explore"))
        yield copied


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            yield from _leaves(inner, (*path, at))
    else:
        yield path, value


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value
