"""The embedded Rego engine: queries in, decisions out, in process. Whatever goes wrong is a denial.

Not the rules (`policies/`), and not the load-time gate (`loadcheck.py`), which must have passed: the evaluator finds
some faults only when a rule runs. It is bound to the thread that made it: build, use and close it on the event loop's
thread.

An evaluation costs some hundred microseconds, so decisions are remembered (`memo.py`) by the parts of a query that
rules can read (`reads.py`), and a query is evaluated by an engine that holds only the modules which can say
something of its kind.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.core.decisions.decision import Decision, Query
from gateway.policy.answer import failed, read_answer, refused_unasked
from gateway.policy.bundle import Bundle
from gateway.policy.evaluator import ENTRY_POINT, build_evaluator, first_line
from gateway.policy.memo import Memo, key_builder
from gateway.policy.policyset import data_json, revision_of
from gateway.policy.reads import KINDS, ModuleReads, reads_by_kind, reads_of

_RULES = ("ringfence", "rules")
_RULE_DEPTH = 4
"""`ringfence.rules.<category>.<rule>`."""


class EmbeddedEngine:
    """Decides queries with one policy set. A reload builds another one; the swap is one reference."""

    def __init__(self, bundle: Bundle, settings: Mapping[str, Any]) -> None:
        """`settings` are whole: defaults merged with the configuration (`settings.merge_settings`)."""
        data = data_json(settings)
        self._revision = revision_of(bundle, settings)
        modules = reads_of(bundle.modules)
        self._engines = {kind: build_evaluator(_modules_for(kind, bundle, modules), data) for kind in KINDS}
        paths = reads_by_kind(modules)
        self._keys = {kind: key_builder(kind, paths[kind]) for kind in KINDS}
        self.memo = Memo()

    @property
    def revision(self) -> str:
        """Twelve hex digits of all modules and data: changes when any decision could."""
        return self._revision

    def close(self) -> None:
        """Let go of the evaluators, on the thread that made them: dropped on another one, they are never freed.

        Whoever still asks is denied.
        """
        self._engines.clear()
        self._keys.clear()

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`. Never raises."""
        try:
            return self._decide(query)
        except Exception as error:  # noqa: BLE001 - a policy fault must deny, whatever it is
            return failed(f"the policies could not be evaluated ({first_line(error)})", self._revision)

    def _decide(self, query: Query) -> Decision:
        kind = str(query.action.__struct_config__.tag)
        refused = refused_unasked(query, self._revision)
        if refused is not None:
            return refused
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
        return read_answer(engine.eval_rule(ENTRY_POINT), self._revision)


def _modules_for(kind: str, bundle: Bundle, modules: list[ModuleReads]) -> dict[str, str]:
    """Modules without those rules that are silent for `kind` and that no other module refers to."""
    referred = {path[:_RULE_DEPTH] for module in modules for path in module.data}
    kept = {
        module.file
        for module in modules
        if module.package[: len(_RULES)] != _RULES or kind in module.fires_for or module.package in referred
    }
    return {name: text for name, text in bundle.modules.items() if name in kept}
