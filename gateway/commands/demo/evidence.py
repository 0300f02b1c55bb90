"""What happened, as the gateway's own audit trail and operator paths tell it. Nothing here comes from the scenes."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.commands.client import GatewayClient
from gateway.commands.live import Limits
from gateway.contract import MAIN_AGENT
from gateway.core.money.standing import Standing
from gateway.errors import Reason


class Worst(msgspec.Struct, frozen=True):
    """The most that a request could use."""

    cost: int


class Hold(msgspec.Struct, frozen=True):
    """What was held for a request."""

    worst: Worst
    created_ms: int


class Lineage(msgspec.Struct, frozen=True):
    """Whose request it was."""

    session: str
    agent: str
    run: str | None = None


class DecidedCall(msgspec.Struct, frozen=True):
    """A tool call of an answer and what became of it."""

    tool: str
    allowed: bool
    decision: str
    message: str = ""


class Request(msgspec.Struct, frozen=True):
    """A request's record."""

    at_ms: int
    status: int | None
    reason: str
    message: str
    lineage: Lineage | None
    hold: Hold | None
    cost_nanousd: int
    tool_calls: tuple[DecidedCall, ...]
    restored_denials: int
    total_seconds: float

    @property
    def completed(self) -> bool:
        """The whole answer reached the client."""
        return self.reason == Reason.COMPLETED

    @property
    def agent(self) -> str:
        """The agent that asked."""
        return self.lineage.agent if self.lineage is not None else MAIN_AGENT


class _Kind(msgspec.Struct):
    event: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the table shows of one scene."""

    requests: int
    tool_calls: int
    asked: int
    allowed: int
    denied: int
    why: dict[str, int]
    held_nanousd: int
    """Most that was held at one moment."""
    peak_nanousd: int
    """Most that was held and spent together."""
    spent_nanousd: int
    cap_nanousd: int


@dataclass(frozen=True, slots=True)
class Trail:
    """The records of some sessions, oldest first."""

    requests: tuple[Request, ...]

    @property
    def calls(self) -> list[DecidedCall]:
        """Every tool call that was decided."""
        return [call for request in self.requests for call in request.tool_calls]

    @property
    def spent_nanousd(self) -> int:
        """Sum of what the requests cost."""
        return sum(request.cost_nanousd for request in self.requests)

    def of_run(self, run: str) -> "Trail":
        """What the agents of one run did."""
        mine = (each for each in self.requests if each.lineage is not None and each.lineage.run == run)
        return Trail(tuple(mine))

    def agents(self, *, completed: bool) -> set[str]:
        """Agents other than main with a request that completed, or with one that was refused."""
        return {each.agent for each in self.requests if each.completed is completed} - {MAIN_AGENT}


def read_trail(path: Path, sessions: Collection[str]) -> Trail:
    """The request records of these sessions."""
    requests: list[Request] = []
    for line in path.read_bytes().splitlines():
        if msgspec.json.decode(line, type=_Kind).event == "request":
            request = msgspec.json.decode(line, type=Request)
            if request.lineage is not None and request.lineage.session in sessions:
                requests.append(request)
    return Trail(tuple(requests))


def read_limit(operator: GatewayClient, account: str) -> Standing:
    """The limit of an account with what is spent and held on it now."""
    return next(row for row in operator.read("/limits", Limits, account=account).limits if row.account == account)


def figures(trail: Trail, limit: Standing) -> Figures:
    """The table's row: counts from the audit trail, money that was spent and its cap from the ledger."""
    calls = trail.calls
    refused = [request for request in trail.requests if not request.completed]
    denied = [call for call in calls if not call.allowed]
    held, peak = most_committed(trail.requests)
    why = Counter([request.reason for request in refused] + [rule_of(call) for call in denied])
    return Figures(
        requests=len(trail.requests),
        tool_calls=len(calls),
        asked=len(trail.requests) + len(calls),
        allowed=len(trail.requests) + len(calls) - len(refused) - len(denied),
        denied=len(refused) + len(denied),
        why=dict(why),
        held_nanousd=held,
        peak_nanousd=max(peak, limit.used),
        spent_nanousd=limit.used,
        cap_nanousd=limit.max,
    )


def rule_of(call: DecidedCall) -> str:
    """The rule that denied a call: its message begins with it."""
    return call.message.partition(":")[0]


def most_committed(requests: Sequence[Request]) -> tuple[int, int]:
    """The most that was held at one moment, and the most that was held and spent together.

    A record is written after its hold has ended, so that holds look a little longer here than they were, never shorter.
    """
    changes: list[tuple[float, int, int]] = []
    for request in requests:
        if request.hold is not None:
            ended_ms = request.at_ms + request.total_seconds * 1000
            changes.append((request.hold.created_ms, request.hold.worst.cost, 0))
            changes.append((ended_ms, -request.hold.worst.cost, request.cost_nanousd))
    held = spent = held_most = committed_most = 0
    for _, hold, cost in sorted(changes):
        held += hold
        spent += cost
        held_most = max(held_most, held)
        committed_most = max(committed_most, held + spent)
    return held_most, committed_most
