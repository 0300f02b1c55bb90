"""The embedded Rego engine: queries in, decisions out, in process. Whatever goes wrong is a denial.

Not the rules (`policies/`), and not the load-time gate (`loadcheck.py`), which must have passed: the evaluator finds
some faults only when a rule runs. It is bound to the thread that made it: build and use it on the event loop's
thread.

An evaluation costs some hundred microseconds, so decisions are remembered (`memo.py`) by the parts of a query that
rules can read (`reads.py`), and a query is evaluated by an engine that holds only the modules which can say
something of its kind.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.contract import TOOL_INPUT_DEPTH_MAX
from gateway.core.decision import OBLIGATIONS, Decision, Limit, Obligation, Query, RuleReason, ToolCall, denied
from gateway.errors import GatewayError, Reason
from gateway.policy.bundle import Bundle, load_bundle
from gateway.policy.evaluator import ENTRY_POINT, build_evaluator, first_line, syntax_tree
from gateway.policy.loadcheck import check_bundle
from gateway.policy.memo import Memo, key_builder
from gateway.policy.reads import KINDS, ModuleReads, read_modules, reads_by_kind
from gateway.policy.settings import Problem, merge_settings

_RULES = ("ringfence", "rules")
_RULE_DEPTH = 4
"""`ringfence.rules.<category>.<rule>`."""


class _Answer(msgspec.Struct, frozen=True):
    """What the entry point must answer."""

    allow: bool
    reasons: tuple[RuleReason, ...] = ()
    shadow: tuple[RuleReason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    limits: tuple[Limit, ...] = ()


class EmbeddedEngine:
    """Decides queries with one policy set. A reload builds another one; the swap is one reference."""

    def __init__(self, bundle: Bundle, settings: Mapping[str, Any]) -> None:
        """`settings` are whole: defaults merged with the configuration (`settings.merge_settings`)."""
        data = json.dumps({"ringfence": {"settings": settings}}, sort_keys=True)
        self._revision = _revision(bundle, data)
        modules = _reads(bundle)
        self._engines = {kind: build_evaluator(_modules_for(kind, bundle, modules), data) for kind in KINDS}
        paths = reads_by_kind(modules)
        self._keys = {kind: key_builder(kind, paths[kind]) for kind in KINDS}
        self.memo = Memo()

    @property
    def revision(self) -> str:
        """Twelve hex digits of all modules and data: changes when any decision could."""
        return self._revision

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`. Never raises."""
        try:
            return self._decide(query)
        except Exception as error:  # noqa: BLE001 - a policy fault must deny, whatever it is
            return self._failed(f"the policies could not be evaluated ({first_line(error)})")

    def _decide(self, query: Query) -> Decision:
        kind = str(query.action.__struct_config__.tag)
        if isinstance(query.action, ToolCall) and is_too_deep(query.action.input, TOOL_INPUT_DEPTH_MAX):
            message = f"{query.action.tool}: input nested deeper than {TOOL_INPUT_DEPTH_MAX} levels; send a flatter one"
            return denied("engine/depth", message, self._revision)
        key = self._keys[kind](query)
        known = self.memo.find(key)
        if known is not None:
            return known
        decision = self._evaluate(kind, query)
        self.memo.add(key, decision)
        return decision

    def _evaluate(self, kind: str, query: Query) -> Decision:
        engine = self._engines[kind]
        engine.set_input_json(msgspec.json.encode(query).decode())
        answer = msgspec.convert(engine.eval_rule(ENTRY_POINT), _Answer)
        unknown = next((one.kind for one in answer.obligations if one.kind not in OBLIGATIONS), None)
        if unknown is not None:
            message = f"a rule asks for {unknown[:80]!r}, which the gateway cannot do; report it to the operator"
            return denied("engine/obligation", message, self._revision)
        if not answer.allow and not answer.reasons:
            return self._failed("the policies deny without a reason")
        return Decision(
            allow=answer.allow and not answer.reasons,
            reasons=answer.reasons,
            shadow=answer.shadow,
            obligations=answer.obligations,
            limits=answer.limits,
            revision=self._revision,
        )

    def _failed(self, what: str) -> Decision:
        return denied("engine/failed", f"{what}; report it to the operator of the gateway", self._revision)


def load_engine(path: Path, settings: Mapping[str, Any], mode: str) -> EmbeddedEngine:
    """Check the policies under `path` and build an engine.

    `settings`: what the configuration lays over the defaults; `settings["modes"]` holds the modes of single rules.
    `mode`: enforce or shadow, for the whole gateway. Raises `GatewayError` with every problem.
    """
    bundle = load_bundle(path)
    over = {**settings, "mode": mode}
    return build_checked(path, bundle, over, check_bundle(bundle, over))


def build_checked(
    path: Path, bundle: Bundle, settings: Mapping[str, Any], problems: Sequence[Problem]
) -> EmbeddedEngine:
    """An engine of a bundle whose check found `problems`. Raises `GatewayError` when it found any."""
    if problems:
        raise GatewayError(Reason.POLICY_FAILED, _listed(path, problems))
    merged, _ = merge_settings(bundle, settings)
    return EmbeddedEngine(bundle, merged)


def is_too_deep(value: object, depth_max: int) -> bool:
    """Whether a JSON value is nested deeper than `depth_max`. No recursion."""
    level = [value]
    for _ in range(depth_max):
        level = [inner for one in level for inner in _members(one) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _reads(bundle: Bundle) -> list[ModuleReads]:
    return read_modules(syntax_tree(build_evaluator(bundle.modules, "{}")))


def _modules_for(kind: str, bundle: Bundle, modules: list[ModuleReads]) -> dict[str, str]:
    """Modules without those rules that are silent for `kind` and that no other module refers to."""
    referred = {path[:_RULE_DEPTH] for module in modules for path in module.data}
    kept = {
        module.file
        for module in modules
        if module.package[: len(_RULES)] != _RULES or kind in module.fires_for or module.package in referred
    }
    return {name: text for name, text in bundle.modules.items() if name in kept}


def _revision(bundle: Bundle, data: str) -> str:
    digest = hashlib.sha256()
    for name, text in bundle.modules.items():
        digest.update(f"{name}\0{len(text.encode())}\0".encode() + text.encode())
    digest.update(data.encode())
    return digest.hexdigest()[:12]


def _listed(path: Path, problems: Sequence[Problem]) -> str:
    lines = [f"{one.file}{f':{one.line}' if one.line else ''}: {one.message}; {one.suggestion}" for one in problems]
    return f"the policies under {path} are refused: " + " | ".join(lines)
