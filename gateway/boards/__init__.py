"""What stands against an agent beside policy: people's controls, blown fuses, approvals. One of each per gateway."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.boards.approvalboard import ApprovalBoard
from gateway.boards.controlboard import ControlBoard
from gateway.boards.fuseboard import FuseBoard
from gateway.context import RequestContext
from gateway.ports import SharedRecord


@dataclass(frozen=True, slots=True)
class Boards:
    """The three together."""

    controls: ControlBoard
    fuses: FuseBoard
    approvals: ApprovalBoard

    def learn(self, records: Sequence[SharedRecord]) -> None:
        """Take over what other gateways wrote; each takes its own kind."""
        self.controls.learn(records)
        self.fuses.learn(records)
        self.approvals.learn(records)

    def may_begin(self, ctx: RequestContext) -> None:
        """Between the upstream's answer and its first byte: may an agent that has had no output be given some?

        Raises `Refused` (STOPPED, FUSE_BLOWN).
        """
        assert ctx.agent is not None
        self.controls.require_unstopped(ctx)
        self.fuses.require_first_token(ctx.agent)
