"""The fuses of the running gateway: checks them against the tree's meters, remembers and reports what blows.

The rules of a fuse are `core/fuse.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.fuse import FuseBox, FuseRecord, Scope, message
from gateway.core.lineage import AgentNode
from gateway.core.loops import Streaks
from gateway.errors import Reason, Refused
from gateway.ports import AuditSink, Clock, FuseStore, Telemetry


@dataclass(frozen=True, slots=True)
class FuseBoard:
    """All fuses, with where they are kept and reported."""

    box: FuseBox
    store: FuseStore
    audit: AuditSink
    telemetry: Telemetry
    clock: Clock

    def check(self, node: AgentNode, streaks: Streaks | None = None) -> FuseRecord | None:
        """Hold the meters of an agent and its session against their fuses; the blown one that stops it, if any."""
        now = self.clock.unix_ms()
        agent = node.meters(now)
        if streaks is not None:
            agent["identical_tool_calls"] = streaks.identical_tool_calls
            agent["consecutive_errors"] = streaks.consecutive_errors
        return self._check("agent", node.key, agent, now) or self._check(
            "session", node.session.id, node.session.meters(now), now
        )

    def require_intact(self, node: AgentNode, streaks: Streaks) -> None:
        """Raises `Refused(FUSE_BLOWN)`, naming the fuse and how to replace it."""
        blown = self.check(node, streaks)
        if blown is not None:
            raise Refused(Reason.FUSE_BLOWN, message(blown))

    def replace(self, fuse_id: str, *, by: str, reason: str) -> FuseRecord:
        """A named person replaces a blown fuse. Raises what `FuseBox.replace` raises."""
        record = self.box.replace(fuse_id, by, reason, self.clock.unix_ms())
        self._remember(record)
        return record

    def _check(self, scope: Scope, holder: str, meters: Mapping[str, int], now: int) -> FuseRecord | None:
        for change in self.box.check(scope, holder, meters, now):
            self._remember(change)
            if change.state == "blown":
                self.telemetry.fuse_blown(scope, change.meter)
        return self.box.blown(scope, holder)

    def _remember(self, record: FuseRecord) -> None:
        self.store.save_fuse(record)
        self.audit.fuse(record)
