"""Asks a policy set about a recorded query, and tells whether it looked where the record is silent. Serves nothing.

The evaluator says which lines it ran. A line that names a part of the query which the record lacks, and was run, makes
the answer unsure: the rule might have said something else. Lines are found in the text, so that one too many may be
found and none is missed: a reference counts by its longest literal path, a name that stands for one by itself.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from gateway.core.decisions.decision import Decision, Query
from gateway.policy.answer import failed, read_answer, refused_unasked
from gateway.policy.evaluator import ENTRY_POINT, build_evaluator, first_line
from gateway.policy.memo import key_builder
from gateway.policy.policyset import PolicySet, data_json
from gateway.policy.reads import KINDS, reads_by_kind, reads_of

ANSWERS_MAX = 20_000
"""Remembered; the one unused for longest is forgotten."""

_IMPORT = re.compile(r"^\s*import\s+input((?:\.\w+)*)(?:\s+as\s+(\w+))?", re.MULTILINE)
_LITERAL = r"((?:\.\w+|\[\"[^\"]*\"\])*)"
_STEP = re.compile(r"\.(\w+)|\[\"([^\"]*)\"\]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policies say of a recorded query."""

    decision: Decision
    unsure: tuple[str, ...] = ()
    """Rules that looked at what was not recorded: the answer may be another one."""


class Probe:
    """One policy set that is asked about the past."""

    def __init__(self, policies: PolicySet) -> None:
        """`policies` passed the load-time gate."""
        self.policies = policies
        self.revision = policies.revision
        modules = policies.bundle.modules
        self._engine = build_evaluator(modules, data_json(policies.settings))
        cast("Any", self._engine).set_enable_coverage(True)
        found = reads_of(modules)
        self.kinds = {one.file: one.fires_for for one in found}
        """For which kinds of query each module can say something."""
        paths = reads_by_kind(found)
        self._keys = {kind: key_builder(kind, paths[kind]) for kind in KINDS}
        self._lines: dict[str, dict[str, frozenset[int]]] = {}
        self._known: OrderedDict[tuple[bytes, tuple[str, ...]], Answer] = OrderedDict()

    def ask(self, query: Query, unrecorded: tuple[str, ...] = ()) -> Answer:
        """The answer of the entry point. Never raises: what fails is a denial, as in the gateway."""
        key = (self._keys[str(query.action.__struct_config__.tag)](query), unrecorded)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._ask(query, unrecorded)
            if len(self._known) > ANSWERS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known

    def obliging(self, query: Query) -> tuple[str, ...]:
        """Rules that oblige to something or limit, whatever their mode. Raises `RuntimeError` when a rule fails."""
        words = self.words(query).items()
        return tuple(rule for rule, held in words if held.get("obligations") or held.get("limits"))

    def words(self, query: Query) -> Mapping[str, Mapping[str, Any]]:
        """What each rule holds for the query, by rule. Raises `RuntimeError` when a rule fails."""
        self._engine.set_input_json(msgspec.json.encode(query).decode())
        found: dict[str, Mapping[str, Any]] = {}
        for rule in self.policies.bundle.rules:
            package = ".".join(("data.ringfence.rules", *rule.split("/")))
            answer = json.loads(cast("Any", self._engine).eval_query_as_json(package))
            found[rule] = answer["result"][0]["expressions"][0]["value"]
        return found

    def _ask(self, query: Query, unrecorded: tuple[str, ...]) -> Answer:
        refused = refused_unasked(query, self.revision)
        if refused is not None:
            return Answer(refused)
        coverage = cast("Any", self._engine)
        coverage.clear_coverage_data()
        try:
            self._engine.set_input_json(msgspec.json.encode(query).decode())
            decision = read_answer(self._engine.eval_rule(ENTRY_POINT), self.revision)
        except Exception as error:  # noqa: BLE001 - a policy fault denies in the gateway, whatever it is
            decision = failed(f"the policies could not be evaluated ({first_line(error)})", self.revision)
        if not unrecorded:
            return Answer(decision)
        report = json.loads(coverage.get_coverage_report_as_json())
        return Answer(decision, tuple(self._unsure(report["files"], unrecorded)))

    def _unsure(self, files: Iterable[Mapping[str, Any]], unrecorded: tuple[str, ...]) -> list[str]:
        found: list[str] = []
        for file in files:
            ran = frozenset(cast("list[int]", file["covered"]))
            if any(ran & self._lines_about(path).get(str(file["path"]), frozenset()) for path in unrecorded):
                found.append(rule_of(str(file["path"])))
        return sorted(found)

    def _lines_about(self, path: str) -> Mapping[str, frozenset[int]]:
        if path not in self._lines:
            wanted = tuple(path.split("."))
            modules = self.policies.bundle.modules
            self._lines[path] = {name: lines_about(text, wanted) for name, text in modules.items()}
        return self._lines[path]


def rule_of(file: str) -> str:
    """`<category>/<rule>` of a rule's module; the file's own name for any other."""
    parts = file.split("/")
    return f"{parts[1]}/{parts[2]}" if parts[0] == "rules" and len(parts) > 3 else file


def lines_about(text: str, wanted: tuple[str, ...]) -> frozenset[int]:
    """Numbers of the lines of a module that name the path `wanted` of the input, what is above it, or below it."""
    names: dict[str, tuple[str, ...]] = {"input": ()}
    for literal, alias in _IMPORT.findall(text):
        path = _steps(literal)
        names[alias or (path[-1] if path else "input")] = path
    reference = re.compile(rf"(?<![\w.\"])({'|'.join(map(re.escape, names))})\b{_LITERAL}")
    found: set[int] = set()
    for number, line in enumerate(text.splitlines(), 1):
        for name, literal in reference.findall(line):
            path = (*names[name], *_steps(literal))
            if path[: len(wanted)] == wanted or wanted[: len(path)] == path:
                found.add(number)
    return frozenset(found)


def _steps(literal: str) -> tuple[str, ...]:
    return tuple(dotted or quoted for dotted, quoted in _STEP.findall(literal))
