"""Runs the tests and examples that lie beside the rules. Runs in the throw-away process of `loadcheck.py`.

A test is a Rego rule `test_*` in `rule_test.rego`. An example is JSON: `{"query", "expect": {"allow", "rules",
"shadow"?, "obligations"?}, "settings"?, "without"?}`. Its query is laid over `BASE_QUERY`; facts, class and server of a
tool call are those that the gateway would find, unless given; `without` lists paths to take out, for the examples of
missing fields.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast

import msgspec

from gateway.core.decisions.decision import Query
from gateway.policy.bundle import Bundle
from gateway.policy.evaluator import ENTRY_POINT, Evaluator, build_evaluator, first_line, over_other_data
from gateway.policy.facts import classify, describe
from gateway.policy.reads import reads_of
from gateway.policy.settings import merge_settings

BASE_QUERY: Mapping[str, Any] = {
    "principal": {"org": "acme", "team": "platform", "user": "alice", "credential": "alice-laptop"},
    "lineage": {
        "session": "5e6f",
        "agent": "main",
        "client": {"name": "claude-cli", "version": "2.1.330"},
        "workspace": "/home/alice/shop",
    },
    "meters": {
        "agent": {"requests": 1},
        "session": {"agents": 1, "active_agents": 1, "agents_per_minute": 1, "denials": 0, "cost": 0},
        "user": {"sessions_per_hour": 1, "active_agents": 1, "agents_per_minute": 1, "cost": 0},
    },
    "time": {"unix_ms": 1_790_000_000_000, "weekday": "monday", "hour": 9},
}
BASE_ACTIONS: Mapping[str, Mapping[str, Any]] = {
    "infer": {
        "model": "claude-opus-4-8",
        "stream": True,
        "max_tokens": 32000,
        "effort": None,
        "speed": None,
        "tools": ["Bash", "Read"],
        "server_tools": [],
        "mcp_servers": [],
        "betas": [],
        "body_bytes": 1000,
        "dialect": "anthropic",
    },
    "spawn": {"via": "tool_use", "parent_type": "main"},
    "tool_call": {"tool_use_id": "toolu_1"},
    "run": {"name": "audit", "script_sha256": "00", "profile": None, "args_bytes": 2, "source": "claude-code"},
}


class Failure(msgspec.Struct, frozen=True):
    """One test or example that did not go as it says."""

    file: str
    name: str
    detail: str
    line: int = 0


class RuleResult(msgspec.Struct, frozen=True):
    """Tests and examples of one rule."""

    rule: str
    passed: int
    failures: tuple[Failure, ...] = ()


def run_rule_tests(bundle: Bundle) -> list[RuleResult]:
    """Every test and example of every rule, with the default settings."""
    return _Runner(bundle).run()


def complete_query(example: Mapping[str, Any]) -> dict[str, Any]:
    """The whole query of an example, as the gateway would send it."""
    given = cast("dict[str, Any]", example["query"])
    action = {**BASE_ACTIONS.get(given["action"]["kind"], {}), **given["action"]}
    whole = _over(BASE_QUERY, {**given, "action": action})
    if action["kind"] == "tool_call":
        tool_class, server = classify(action["tool"])
        facts = describe(action["tool"], action["input"], whole["lineage"].get("workspace"))
        found = {"class": tool_class, "server": server, "facts": msgspec.to_builtins(facts)}
        whole["action"] = {**found, **action}
    typed = msgspec.convert(whole, Query)
    encoded = cast("dict[str, Any]", json.loads(msgspec.json.encode(typed)))
    for path in cast("list[str]", example.get("without", [])):
        _take_out(encoded, path.split("."))
    return encoded


def _over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = base.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            merged[key] = _over(cast("Mapping[str, Any]", inner), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged


def _take_out(value: dict[str, Any], path: list[str]) -> None:
    for part in path[:-1]:
        value = cast("dict[str, Any]", value[part])
    del value[path[-1]]


class _Runner:
    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        settings, _ = merge_settings(bundle, {})
        self.tests = build_evaluator({**bundle.modules, **bundle.tests}, _data(settings))
        self.engine = build_evaluator(bundle.modules, _data(settings))
        self.engines = {_data(settings): self.engine}
        modules = reads_of({**bundle.modules, **bundle.tests})
        self.test_modules = {module.file: module for module in modules if module.file in bundle.tests}

    def run(self) -> list[RuleResult]:
        results = [self.one(rule, f"rules/{rule}/") for rule in self.bundle.rules]
        outside = [name for name in self.bundle.tests if not name.startswith("rules/")]
        if outside:
            results.append(self.result("main", [self.test_file(name) for name in outside]))
        return results

    def one(self, rule: str, folder: str) -> RuleResult:
        tests = [self.test_file(name) for name in self.bundle.tests if name.startswith(folder)]
        examples = [
            self.example(name)
            for name in self.bundle.files
            if name.startswith(folder + "examples/") and name.endswith(".json")
        ]
        return self.result(rule, [*tests, examples])

    def result(self, rule: str, outcomes: list[list[Failure | None]]) -> RuleResult:
        flat = [one for group in outcomes for one in group]
        failures = tuple(one for one in flat if one is not None)
        return RuleResult(rule, len(flat) - len(failures), failures)

    def test_file(self, file: str) -> list[Failure | None]:
        module = self.test_modules[file]
        names = [(name, place.line) for name, place in module.rules if name.startswith("test_")]
        outcomes: list[Failure | None] = []
        for index, (name, line) in enumerate(names):
            if name in [earlier for earlier, _ in names[:index]]:
                outcomes.append(Failure(file, name, "another test has the same name", line))
            else:
                outcomes.append(self.test(file, ".".join(("data", *module.package, name)), name, line))
        return outcomes

    def test(self, file: str, path: str, name: str, line: int) -> Failure | None:
        try:
            answer = self.tests.eval_rule(path)
        except RuntimeError as error:
            return Failure(file, name, first_line(error), line)
        return None if answer is True else Failure(file, name, "is not true", line)

    def engine_over(self, data: str) -> Evaluator:
        """One for all examples with the same settings."""
        if data not in self.engines:
            self.engines[data] = over_other_data(self.engine, data)
        return self.engines[data]

    def example(self, file: str) -> Failure | None:
        try:
            example = cast("dict[str, Any]", json.loads(self.bundle.files[file]))
            engine = self.engine
            if example.get("settings"):
                settings, problems = merge_settings(self.bundle, example["settings"])
                if problems:
                    return Failure(file, "example", problems[0].message)
                engine = self.engine_over(_data(settings))
            answer = evaluate(engine, complete_query(example))
            if "obligations" in example["expect"]:
                answer = {**answer, "obligations": _own_obligations(engine, file, answer)}
            return _compare(file, example["expect"], answer)
        except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            return Failure(file, "example", f"cannot be read: {type(error).__name__}: {error}"[:300])
        except RuntimeError as error:
            return Failure(file, "example", first_line(error))


def evaluate(engine: Evaluator, query: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of the entry point. Raises `RuntimeError` when a rule fails, `TypeError` when it is no object."""
    engine.set_input_json(json.dumps(query))
    answer: object = engine.eval_rule(ENTRY_POINT)
    if not isinstance(answer, dict):
        raise TypeError(f"{ENTRY_POINT} is {str(answer)[:80]}, not an object")
    return cast("dict[str, Any]", answer)


def _own_obligations(engine: Evaluator, file: str, answer: Mapping[str, Any]) -> list[Any]:
    """Those of the answer that the example's own rule asks for: others beside it may ask for more."""
    category, rule = map(json.dumps, PurePosixPath(file).parts[1:3])
    own = engine.eval_query(
        f'[one | one := object.get(data.ringfence.rules[{category}][{rule}], "obligations", [])[_]]'
    )
    found = cast("Any", own)["result"][0]["expressions"][0]["value"]
    return [each for each in answer["obligations"] if each in found]


def _compare(file: str, expect: Mapping[str, Any], answer: Mapping[str, Any]) -> Failure | None:
    found = {
        "allow": answer["allow"],
        "rules": sorted({one["rule"] for one in answer["reasons"]}),
        "shadow": sorted({one["rule"] for one in answer["shadow"]}),
        "obligations": sorted(answer["obligations"], key=json.dumps),
    }
    for key, value in expect.items():
        wanted = sorted(cast("list[Any]", value), key=json.dumps) if isinstance(value, list) else value
        if found[key] != wanted:
            return Failure(file, "example", f"{key} is {found[key]}, expected {wanted}")
    return None


def _data(settings: Mapping[str, Any]) -> str:
    return json.dumps({"ringfence": {"settings": settings}})
