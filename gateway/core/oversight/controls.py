"""Controls: a named person stops or holds an agent, run, session, user, team or everything, until one releases it.

    free     --hold-->     held
    free     --stop-->     stopped
    held     --hold-->     held       in other words
    held     --stop-->     stopped
    held     --release-->  free
    stopped  --stop-->     stopped    in other words
    stopped  --release-->  free

An illegal transition is a missing key of `TRANSITIONS`: what is stopped is not loosened to a hold by accident. A
request is subject to the controls of every target it belongs to; a stop outranks a hold, whichever target is the
narrower. An agent's own agents belong to it, all but those of `main`: their target is the session.

Not here: who waits and who is interrupted. What was released is remembered for its serial, so that what another gateway
wrote before cannot bring it back.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from gateway.contract import HEADER_VALUE_CHARS_MAX, MAIN_AGENT
from gateway.core.agents.lineage import AgentNode
from gateway.core.decisions.decision import Principal

State = Literal["free", "held", "stopped"]
Action = Literal["hold", "stop", "release"]

TRANSITIONS: Mapping[tuple[State, Action], State] = {
    ("free", "hold"): "held",
    ("free", "stop"): "stopped",
    ("held", "hold"): "held",
    ("held", "stop"): "stopped",
    ("held", "release"): "free",
    ("stopped", "stop"): "stopped",
    ("stopped", "release"): "free",
}
ACTIONS: tuple[Action, ...] = get_args(Action)

EVERYTHING = "org"
KINDS = ("agent", "run", "session", "user", "team")
"""Kinds of target that are named, as `kind:id`; an agent is `agent:<session>/<agent>`."""
STANDING_MAX = 10_000
"""Targets stopped or held at once."""
RELEASED_MAX = 1_000
"""Released targets that are remembered; past it the one released first is forgotten."""
REASON_CHARS_MAX = 500
ANCESTORS_MAX = 32
"""How far up an agent's parents are looked at."""


class ControlRecord(msgspec.Struct, frozen=True):
    """What a person last said of a target."""

    target: str
    state: State
    by: str
    at_ms: int
    reason: str
    serial: int
    """Greater than that of whatever was said of the target before, on any gateway."""


class Order(msgspec.Struct, frozen=True):
    """What a person says."""

    action: Action
    target: str
    by: str
    reason: str


class ControlRefused(ValueError):
    """What was asked cannot be done; the message says why."""


class Controls:
    """The controls as this gateway knows them, by target."""

    def __init__(self) -> None:
        self._standing: dict[str, ControlRecord] = {}
        self._released: dict[str, ControlRecord] = {}

    def __bool__(self) -> bool:
        """Does any stand?"""
        return bool(self._standing)

    def find(self, target: str) -> ControlRecord | None:
        """What was last said of a target, if that is remembered."""
        return self._standing.get(target) or self._released.get(target)

    def standing(self) -> list[ControlRecord]:
        """Those that stop or hold, the latest first."""
        return sorted(self._standing.values(), key=lambda record: record.at_ms, reverse=True)

    def learn(self, record: ControlRecord) -> bool:
        """Take over what was said, here or elsewhere; False: that was known, or something later is."""
        known = self.find(record.target)
        if known is not None and known.serial >= record.serial:
            return False
        self.forget(record.target)
        (self._released if record.state == "free" else self._standing)[record.target] = record
        return True

    def forget(self, target: str) -> None:
        """Its record is gone: it is free."""
        self._standing.pop(target, None)
        self._released.pop(target, None)

    def outdated(self) -> str | None:
        """The released target to forget next, when too many are remembered."""
        return next(iter(self._released)) if len(self._released) > RELEASED_MAX else None

    def strictest(self, targets: Iterable[str]) -> ControlRecord | None:
        """The control that a request of these targets is subject to."""
        found = [record for target in targets if (record := self._standing.get(target)) is not None]
        return next((record for record in found if record.state == "stopped"), found[0] if found else None)

    def require_room(self, order: Order) -> None:
        """Raises `ControlRefused` when too many targets are controlled already."""
        target = order.target
        if order.action != "release" and target not in self._standing and len(self._standing) >= STANDING_MAX:
            message = f"{STANDING_MAX} targets are stopped or held; release some, or name a user, a team or everything"
            raise ControlRefused(message)


def changed(record: ControlRecord | None, order: Order, now_ms: int) -> ControlRecord:
    """What is said of a target by an order that follows `record`. Raises `ControlRefused`."""
    parse_target(order.target)
    by, reason = order.by, order.reason
    if not by.strip() or not reason.strip() or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise ControlRefused(f"a control needs a name and a reason of 1 to {REASON_CHARS_MAX} characters on one line")
    state = "free" if record is None else record.state
    following = TRANSITIONS.get((state, order.action))
    if following is None:
        what = "neither stopped nor held" if record is None or state == "free" else f"{state} by {record.by}"
        hint = "; release it first" if state == "stopped" else ""
        raise ControlRefused(f"{named(order.target)} is {what}{hint}")
    serial = 1 if record is None else record.serial + 1
    return ControlRecord(order.target, following, by, now_ms, reason, serial)


def parse_target(text: str) -> tuple[str, str]:
    """Kind and id of a target. Raises `ControlRefused`."""
    kind, _, id = text.partition(":")
    parts = id.split("/") if kind == "agent" else [id]
    sound = all(0 < len(part) <= HEADER_VALUE_CHARS_MAX and part.isprintable() for part in parts)
    if text != EVERYTHING and not (kind in KINDS and sound and len(parts) == (2 if kind == "agent" else 1)):
        forms = "session:ID, agent:SESSION/AGENT, run:ID, user:NAME, team:NAME, org"
        raise ControlRefused(f"target must be one of {forms}, not '{text[:64]}'")
    return kind, id


def targets_of(principal: Principal, node: AgentNode, run: str | None) -> Sequence[str]:
    """Every target that a request of this agent belongs to, the narrowest first."""
    session = node.session
    targets = [f"agent:{node.key}", f"session:{session.id}", f"user:{principal.user}", EVERYTHING]
    if principal.team is not None:
        targets.append(f"team:{principal.team}")
    names = {run} if node.run is None else {run, *node.run.names}
    targets += [f"run:{name}" for name in names if name is not None]
    parent = node.parent
    for _ in range(ANCESTORS_MAX):
        if parent is None or parent == MAIN_AGENT or (target := f"agent:{session.id}/{parent}") in targets:
            break
        targets.append(target)
        above = session.agents.get(parent)
        parent = None if above is None else above.parent
    return targets


def named(target: str) -> str:
    """A target in a sentence."""
    kind, _, id = target.partition(":")
    if kind == EVERYTHING:
        return "everything"
    if kind == "agent":
        session, _, agent = id.partition("/")
        return f"agent {agent} of session {session}"
    return f"{kind} {id}"


def release_command(target: str) -> str:
    """What an operator types to release it."""
    kind, _, id = target.partition(":")
    options = {EVERYTHING: "--everything", "user": "--user", "team": "--team", "run": "--run"}
    words = [options[kind]] if kind in options else []
    if kind == "agent":
        session, _, agent = id.partition("/")
        words += [session, "--agent", agent]
    elif id:
        words.append(id)
    return f"ringfence sessions release {shlex.join(words)} --reason '...'"


def message(record: ControlRecord) -> str:
    """One sentence for the client: what is stopped or held, by whom and why, and how it is released."""
    return (
        f"{named(record.target)} was {record.state} by {record.by} ({record.reason}); "
        f"it stays {record.state} until it is released: {release_command(record.target)}"
    )
