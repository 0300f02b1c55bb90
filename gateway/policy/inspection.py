"""Static checks of a policy set: folders complete, functions known and pure, input and settings paths that exist.

Nothing is evaluated here (`ruletests.py` does). These catch what the evaluator would find only when a rule runs, or
never: a misspelt field is undefined, and a rule that reads it would be silent.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from gateway.policy.bundle import MAIN_FILE, Bundle
from gateway.policy.evaluator import build_evaluator, first_line, place_of
from gateway.policy.reads import KINDS, ModuleReads, Place, RefPath, reads_of
from gateway.policy.settings import Problem

SCHEMA_FILE = "schema/input.json"
IMPURE = frozenset(
    {"http.send", "opa.runtime", "rand.intn", "time.now_ns", "trace", "uuid.rfc4122", "net.lookup_ip_addr", "print"}
)
"""Functions whose answer depends on more than their arguments, or that act: decisions could not be remembered."""
_NEEDED_FILES = ("rule.rego", "rule_test.rego", "README.md")
_NEEDED_EXAMPLES = ("allow", "deny", "missing")
_CLOSING = frozenset({"type", "enum", "const", "properties"})
"""A schema with none of these takes any value."""
_COLLECTED = ("violations", "obligations", "limits")


def inspect_bundle(bundle: Bundle, settings: Mapping[str, Any]) -> list[Problem]:
    """Every static problem. `settings` are whole, as rules will see them."""
    problems = [*_unparsed(bundle), *_incomplete(bundle)]
    if any(one.file.endswith(".rego") and one.line for one in problems):
        return problems
    modules = reads_of({**bundle.modules, **bundle.tests})
    builtins = _builtins()
    defined = {(*module.package, name) for module in modules for name, _ in module.rules}
    for module in modules:
        problems.extend(_calls(module, builtins))
        problems.extend(_data_paths(module, defined, settings))
        if module.file in bundle.modules:
            problems.extend(_input_paths(module, bundle))
            problems.extend(_with(module))
            problems.extend(_package(module))
    return problems


def _unparsed(bundle: Bundle) -> list[Problem]:
    problems: list[Problem] = []
    for name, text in {**bundle.modules, **bundle.tests}.items():
        try:
            build_evaluator({name: text}, "{}")
        except RuntimeError as error:
            _, line = place_of(error)
            problems.append(Problem(name, line or 1, f"syntax: {first_line(error)}", "correct the line (Rego v1)"))
    return problems


def _incomplete(bundle: Bundle) -> list[Problem]:
    problems: list[Problem] = []
    if not bundle.rules:
        problems.append(Problem(MAIN_FILE, 0, "there is no rule under rules/", "restore the packaged policies"))
    for rule in bundle.rules:
        folder = f"rules/{rule}"
        missing = [name for name in _NEEDED_FILES if f"{folder}/{name}" not in bundle.files]
        examples = [name for name in bundle.files if name.startswith(f"{folder}/examples/")]
        for kind in _NEEDED_EXAMPLES:
            if not any(name.rpartition("/")[2].startswith(kind) for name in examples):
                missing.append(f"examples/{kind}*.json")
        problems.extend(Problem(folder, 0, f"{one} is missing", f"add {folder}/{one}") for one in missing)
    return problems


def _builtins() -> frozenset[str]:
    engine = build_evaluator({}, "{}")
    answer = cast("Any", engine.eval_query("opa.runtime().builtins"))
    return frozenset(cast("list[str]", answer["result"][0]["expressions"][0]["value"]))


def _calls(module: ModuleReads, builtins: frozenset[str]) -> Iterable[Problem]:
    for name, place in module.calls.items():
        if name in IMPURE:
            yield _at(place, f"{name} is not pure", "decide from input and data alone; the time is in input.time")
        elif name not in builtins:
            yield _at(place, f"there is no function {name}", _nearest(name, builtins))


def _with(module: ModuleReads) -> Iterable[Problem]:
    for path, place in module.replaces.items():
        yield _at(place, f"`with {'.'.join(path)}` outside a test", "pass the value as an argument")


def _package(module: ModuleReads) -> Iterable[Problem]:
    parts = module.file.split("/")
    if parts[0] == "rules" and len(parts) > 3:
        wanted = ("ringfence", "rules", parts[1], parts[2])
        if module.package != wanted:
            package = ".".join(module.package)
            yield Problem(module.file, 1, f"package {package} does not match the folder", f"package {'.'.join(wanted)}")
        elif not any(name in _COLLECTED for name, _ in module.rules):
            yield Problem(module.file, 0, "defines none of violations, obligations, limits", "add what it should say")


def _data_paths(module: ModuleReads, defined: set[RefPath], settings: Mapping[str, Any]) -> Iterable[Problem]:
    for path, place in module.data.items():
        if path[:2] == ("ringfence", "settings"):
            yield from _settings_path(path[2:], settings, place)
        elif not _is_defined(path, defined):
            yield _at(place, f"data.{'.'.join(path)} is not defined", _nearest(path[-1], (one[-1] for one in defined)))


def _is_defined(path: RefPath, defined: set[RefPath]) -> bool:
    return any(one[: len(path)] == path or path[: len(one)] == one for one in defined)


def _settings_path(path: RefPath, settings: Mapping[str, Any], place: Place) -> Iterable[Problem]:
    value: object = settings
    for part in path:
        if not isinstance(value, Mapping) or not value:
            return
        known = cast("Mapping[str, object]", value)
        if part not in known:
            yield _at(place, f"there is no setting {'.'.join(path)}", _nearest(part, known))
            return
        value = known[part]


def _input_paths(module: ModuleReads, bundle: Bundle) -> Iterable[Problem]:
    text = bundle.files.get(SCHEMA_FILE)
    if text is None:
        yield Problem(SCHEMA_FILE, 0, "the schema of the query is missing", "restore it from the packaged policies")
        return
    schema = cast("Mapping[str, Any]", json.loads(text))
    for path, place in {path: place for kind in KINDS for path, place in module.inputs[kind].items()}.items():
        known = [schema]
        for part in path:
            names = {name for one in known for name in _members(one, schema)}
            known = [one for node in known for one in _step(node, part, schema)]
            if not known:
                yield _at(place, f"input.{'.'.join(path)} is never there", _nearest(part, names))
                break


def _variants(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "$ref" in node:
        target: Any = schema
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return _variants(target, schema)
    if "anyOf" in node or "oneOf" in node:
        branches = cast("list[Mapping[str, Any]]", node.get("anyOf") or node.get("oneOf"))
        return [one for branch in branches for one in _variants(branch, schema)]
    return [node]


def _members(node: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    return {name for one in _variants(node, schema) for name in cast("dict[str, Any]", one.get("properties", {}))}


def _step(node: Mapping[str, Any], part: str, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for one in _variants(node, schema):
        properties = cast("dict[str, Any]", one.get("properties", {}))
        if part in properties:
            found.append(properties[part])
        elif isinstance(one.get("additionalProperties"), Mapping):
            found.append(one["additionalProperties"])
        elif not _CLOSING & set(one):
            found.append({})
    return found


def _at(place: Place, message: str, suggestion: str) -> Problem:
    return Problem(place.file, place.line, message, suggestion)


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"did you mean {close[0]}?" if close else "see policies/README.md for what there is"
