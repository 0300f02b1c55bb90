"""Actions, decisions and items to approve. No test lives here."""

from typing import Any

import msgspec

from gateway.core.decisions.decision import (
    Action,
    Command,
    Decision,
    Lineage,
    Obligation,
    Principal,
    Run,
    ScriptProfile,
    Spawn,
    ToolCall,
    ToolFacts,
)
from gateway.core.oversight.approvals import Item, Ruling, binding_of, kind_of, ruled

ALICE = Principal(org="acme", team="platform", user="alice", credential="laptop")
NOW_MS = 1_767_225_600_000
SCRIPT = "export const meta = {name: 'sweep', description: 'd'}\nagent('x')"


def call(command: str = "make deploy", **fields: Any) -> ToolCall:
    base = ToolCall(
        tool="Bash",
        input={"command": command},
        tool_use_id="toolu_1",
        server=None,
        tool_class="exec",
        facts=ToolFacts(commands=(Command(program="make", argv=tuple(command.split())),)),
    )
    return msgspec.structs.replace(base, **fields)


def run(sha256: str | None = "a" * 64) -> Run:
    profile = None if sha256 is None else ScriptProfile(valid=True, name="sweep", fan_out=None)
    return Run("sweep", sha256, profile, 0, "claude-code", opaque=sha256 is None)


def spawn(**fields: Any) -> Spawn:
    base = Spawn(via="tool_use", agent_type="Explore", model="opus", label="look around")
    return msgspec.structs.replace(base, **fields)


def demanding(**value: Any) -> Decision:
    """An allowing decision that asks for an approval."""
    obligation = Obligation("require_approval", {"reason": "it deploys"} | value)
    return Decision(True, obligations=(Obligation("log_full"), obligation), revision="r1")


def item(action: Action | None = None, id: str = "apr_1", **fields: Any) -> Item:
    """An item that waits."""
    action = call() if action is None else action
    values: dict[str, Any] = {
        "id": id,
        "kind": kind_of(action),
        "title": "Bash: make deploy",
        "what": {},
        "binding": binding_of(action),
        "reason": "it deploys",
        "rules": (),
        "principal": ALICE,
        "lineage": Lineage(session="s1", agent="main"),
        "decision": "dec_1.1",
        "asked_at_ms": NOW_MS,
        "expires_at_ms": NOW_MS + 600_000,
        "four_eyes": False,
        "remember": "always",
        "holder": "here",
        "script_sha256": action.script_sha256 if isinstance(action, Run) else None,
    }
    return Item(**values | fields)


def approved(one: Item, scope: Any = "once", by: str = "olga", why: str = "") -> Item:
    """The item after somebody approved it."""
    return ruled(one, Ruling(NOW_MS + 1_000, "approve", by, scope, why))
