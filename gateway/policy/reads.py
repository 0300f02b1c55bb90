"""What Rego modules read and call, from their syntax tree: input paths by kind of query, functions, packages.

Sound in one direction: what is reported may be more than what is read, never less. A reference counts up to its
first part that is not a literal, and a variable bound to such a reference has the whole of it. Nothing is evaluated
here.

A body whose *first* statement is `input.action.kind == "<kind>"` reads for queries of that kind only: for others it
is false whatever the rest would be. That is what keeps the meters, which only spawns ask for, out of the keys of
model requests.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from gateway.policy.evaluator import build_evaluator, syntax_tree

KINDS = ("infer", "spawn", "tool_call", "run")
_ALL = frozenset(KINDS)
_COLLECTED = frozenset({"violations", "obligations", "limits"})
_KIND_PATH = ("action", "kind")
_SETS_REMEMBERED = 4

RefPath = tuple[str, ...]
_Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands."""

    file: str
    line: int


@dataclass(slots=True)
class ModuleReads:
    """What one module reads and calls."""

    file: str
    package: RefPath
    inputs: dict[str, dict[RefPath, Place]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    data: dict[RefPath, Place] = field(default_factory=dict[RefPath, Place])
    calls: dict[str, Place] = field(default_factory=dict[str, Place])
    rules: list[tuple[str, Place]] = field(default_factory=list[tuple[str, Place]])
    replaces: dict[RefPath, Place] = field(default_factory=dict[RefPath, Place])
    """Targets of `with`."""
    fires_for: frozenset[str] = frozenset()
    """Kinds of query for which it can say anything."""


def reads_of(modules: Mapping[str, str]) -> list[ModuleReads]:
    """Reads of every module, not to be changed: who asks again is given the same. Raises as `build_evaluator` does.

    Remembered, because a set is read to check and to try it, and again by every reload that changes settings only.
    """
    return _reads_of(tuple(modules.items()))


@lru_cache(maxsize=_SETS_REMEMBERED)
def _reads_of(modules: tuple[tuple[str, str], ...]) -> list[ModuleReads]:
    return read_modules(syntax_tree(build_evaluator(dict(modules), "{}")))


def read_modules(ast_json: str) -> list[ModuleReads]:
    """Reads of every module of an engine's syntax tree."""
    modules = cast("list[_Tree]", json.loads(ast_json))
    return [_Walker(one).reads for one in modules]


def reads_by_kind(modules: list[ModuleReads]) -> dict[str, list[RefPath]]:
    """Input paths that any module can read for a kind, the shortest that cover all."""
    found: dict[str, list[RefPath]] = {}
    for kind in KINDS:
        paths = sorted({path for module in modules for path in module.inputs[kind]}, key=len)
        kept: list[RefPath] = []
        for path in paths:
            if not any(path[: len(short)] == short for short in kept):
                kept.append(path)
        found[kind] = sorted(kept)
    return found


class _Walker:
    def __init__(self, module: _Tree) -> None:
        tree = cast("_Tree", module["ast"])
        self.file = str(module["source"]["file"])
        self.source = str(module["source"]["contents"]).encode()
        _, package, _ = _reference(tree["package"]["refr"], with_root=True)
        self.reads = ModuleReads(self.file, package)
        self.aliases: dict[str, RefPath] = {}
        self.kinds = _ALL
        for one in tree.get("imports", []):
            self.read_import(one)
        fires: set[str] = set()
        rules = cast("list[_Tree]", tree["rules"])
        self.local = {name for rule in rules if (name := _rule_name(rule))}
        for rule in rules:
            fires |= self.read_rule(rule)
        self.reads.fires_for = frozenset(fires)

    def read_import(self, one: _Tree) -> None:
        root, path, _ = _reference(one["refr"])
        if root == "input":
            self.add_input(path, self.place(one))
        alias = one.get("as")
        name = self.text_at(alias) if alias else (path[-1] if path else root)
        self.aliases[name] = (root, *path)

    def text_at(self, span: _Tree) -> str:
        """The tree holds some names only as a place in the source."""
        return self.source[int(span["start"]) : int(span["end"])].decode()

    def place(self, node: _Tree) -> Place:
        span = node.get("span")
        return Place(self.file, int(cast("_Tree", span)["line"]) if isinstance(span, Mapping) else 0)

    def add_input(self, path: RefPath, place: Place) -> None:
        for kind in self.kinds:
            self.reads.inputs[kind].setdefault(path, place)

    def read_rule(self, rule: _Tree) -> frozenset[str]:
        """Read one rule; the kinds for which it can add to what is collected."""
        name = _rule_name(rule)
        spec = cast("_Tree", rule.get("Spec") or rule.get("Default") or rule)
        self.reads.rules.append((name, self.place(spec)))
        bodies = cast("list[_Tree]", spec.get("bodies") or [])
        fires: frozenset[str] = frozenset() if bodies else _ALL
        for body in bodies:
            self.kinds = _guard(body)
            fires |= self.kinds
            self.visit(body)
        self.kinds = fires
        self.visit({key: value for key, value in spec.items() if key not in ("bodies", "span")})
        self.kinds = _ALL
        return fires if name in _COLLECTED else frozenset()

    def visit(self, node: object) -> None:
        if isinstance(node, list):
            for one in cast("list[object]", node):
                self.visit(one)
        elif isinstance(node, Mapping):
            self.visit_tree(cast("_Tree", node))

    def visit_tree(self, node: _Tree) -> None:
        if "RefDot" in node or "RefBrack" in node or "Var" in node:
            self.visit_reference(node)
            return
        if "Call" in node:
            self.visit_call(cast("_Tree", node["Call"]))
            return
        if "refr" in node and "as" in node:
            root, path, _ = _reference(node["refr"])
            self.reads.replaces[(root, *path)] = self.place(node)
        for key, value in node.items():
            if key != "span":
                self.visit(value)

    def visit_reference(self, node: _Tree) -> None:
        root, path, dynamic = _reference(node)
        place = self.place(cast("_Tree", next(iter(node.values()))))
        if root in self.aliases:
            root, path = self.aliases[root][0], (*self.aliases[root][1:], *path)
        if root == "input":
            self.add_input(path, place)
        elif root == "data":
            self.reads.data.setdefault(path, place)
        for one in dynamic:
            self.visit(one)

    def visit_call(self, call: _Tree) -> None:
        root, path, dynamic = _reference(call["fcn"])
        place = self.place(call)
        if root in self.aliases:
            full = (*self.aliases[root], *path)
            self.reads.data.setdefault(full[1:], place)
        elif root == "data":
            self.reads.data.setdefault(path, place)
        elif root not in self.local or path:
            self.reads.calls.setdefault(".".join((root, *path)), place)
        self.visit(dynamic)
        self.visit(call.get("params"))


def _rule_name(rule: _Tree) -> str:
    spec = cast("_Tree", rule.get("Spec") or rule.get("Default") or {})
    head = cast("_Tree", spec.get("head") or {})
    inner = cast("_Tree", next(iter(head.values()))) if head else spec
    return _reference(inner["refr"])[0] if "refr" in inner else ""


def _reference(node: Any, *, with_root: bool = False) -> tuple[str, RefPath, list[Any]]:
    """Root variable, literal path and the parts that are not literal. After the first of those the path ends."""
    parts: list[tuple[str | None, Any]] = []
    while isinstance(node, Mapping):
        tree = cast("_Tree", node)
        if "RefDot" in tree:
            inner = cast("_Tree", tree["RefDot"])
            parts.append((str(inner["field"][1]), None))
        elif "RefBrack" in tree:
            inner = cast("_Tree", tree["RefBrack"])
            index = cast("_Tree", inner["index"])
            literal = cast("_Tree", index.get("String") or {}).get("value")
            parts.append((literal if isinstance(literal, str) else None, index))
        else:
            break
        node = inner["refr"]
    parts.reverse()
    root = str(cast("_Tree", node)["Var"]["value"]) if isinstance(node, Mapping) and "Var" in node else ""
    dynamic = [index for text, index in parts if text is None]
    if not root:
        dynamic.append(node)
    texts = [text for text, _ in parts]
    literal_path = tuple(cast("list[str]", texts[: texts.index(None)] if None in texts else texts))
    return root, ((root, *literal_path) if with_root else literal_path), dynamic


def _guard(body: _Tree) -> frozenset[str]:
    """Kinds of query for which a body can be true, by its first statement."""
    for statement in _statements(body):
        kind = _kind_compared(cast("_Tree", statement.get("literal") or {}))
        return _ALL if kind is None or statement.get("with_mods") else frozenset({kind}) & _ALL
    return _ALL


def _inner(node: _Tree, key: str) -> _Tree:
    return cast("_Tree", node.get(key) or {})


def _statements(body: _Tree) -> Iterator[_Tree]:
    yield from cast("list[_Tree]", _inner(body, "query").get("stmts") or [])


def _kind_compared(literal: _Tree) -> str | None:
    comparison = _inner(_inner(_inner(literal, "Expr"), "expr"), "BoolExpr")
    if comparison.get("op") != "Eq":
        return None
    root, path, dynamic = _reference(comparison["lhs"])
    value = cast("_Tree", comparison["rhs"].get("String") or {}).get("value")
    if root == "input" and path == _KIND_PATH and not dynamic and isinstance(value, str):
        return value
    return None
