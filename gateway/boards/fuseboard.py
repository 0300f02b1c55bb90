"""The fuses of the running gateway: holds the tree's meters against them, remembers, reports and shares what changes.

The rules of a fuse are `core/fuses/fuse.py`; what becomes of a request that meets a blown one is `admission.py`'s.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from gateway.core.agents.lineage import AgentNode, Tree
from gateway.core.fuses.evidence import read_evidence
from gateway.core.fuses.fuse import (
    LEVEL_METERS,
    STREAK_METERS,
    FuseBox,
    FuseRecord,
    FuseUnknown,
    OnBlow,
    Scope,
    baseline_at,
    message,
    strictest,
    wrap_up_mark,
)
from gateway.core.fuses.join import WRAP_UPS_MAX, is_news, join
from gateway.core.fuses.loops import Streaks
from gateway.core.fuses.words import closing_words, warning, why
from gateway.errors import Reason, Refused
from gateway.ports import AuditSink, Clock, SharedRecord, SharedRecords, Telemetry

_decoder = msgspec.json.Decoder(FuseRecord)


@dataclass(frozen=True, slots=True)
class Blown:
    """What stands against a request. `last_chance`: it may go on all the same, to sum up."""

    record: FuseRecord
    last_chance: bool = False

    @property
    def on_blow(self) -> OnBlow:
        """What is to become of the request."""
        return self.record.on_blow

    @property
    def message(self) -> str:
        """One sentence for people, with the command that replaces the fuse."""
        return message(self.record)

    @property
    def why(self) -> str:
        """For the model: the reason as part of a sentence, without what only an operator can do."""
        return why(self.record)

    @property
    def closing(self) -> str:
        """What stands in place of an answer when the turn is ended."""
        return closing_words(self.record)


@dataclass(frozen=True, slots=True)
class FuseBoard:
    """All fuses, with where they are kept and reported."""

    box: FuseBox
    store: SharedRecords
    audit: AuditSink
    telemetry: Telemetry
    clock: Clock
    tree: Tree

    def check(self, node: AgentNode, streaks: Streaks | None = None) -> FuseRecord | None:
        """Hold the meters of an agent, its run, session and user against their fuses; the blown one that stops it.

        `streaks` None: what is asked belongs to no conversation of the agent.
        """
        now = self.clock.unix_ms()
        blown = [
            found
            for scope, holder in holders_of(node)
            if self.box.guards(scope, holder)
            and (found := self._check(scope, holder, _counted(node, scope, now, streaks), streaks)) is not None
        ]
        return strictest(blown)

    def stand(self, node: AgentNode, streaks: Streaks | None) -> Blown | None:
        """What a request of this agent meets; None: nothing.

        A last chance is given once to an agent that had begun its work when the fuse blew. This call takes it: who
        gets it goes on with this very request. A side request (`streaks` None) never does.
        """
        blown = self.check(node, streaks)
        if blown is None:
            return None
        if blown.on_blow != "wrap_up" or streaks is None or not _may_wrap_up(node, blown):
            return Blown(blown)
        blown = msgspec.structs.replace(blown, wrapped_up=(*blown.wrapped_up, wrap_up_mark(node.key)))
        self.box.keep(blown)
        self._share(blown)
        return Blown(blown, last_chance=True)

    def require_first_token(self, node: AgentNode) -> None:
        """Between the upstream's answer and its first byte: raises `Refused(FUSE_BLOWN)` for an agent that has had none
        while anything stands against it.
        """
        if node.first_token:
            return
        blown = self.check(node)
        if blown is not None:
            raise Refused(Reason.FUSE_BLOWN, message(blown))

    def notices(self, node: AgentNode, streaks: Streaks | None = None) -> list[str]:
        """What the agent should know of fuses that are near their limit; the same words as long as they are.

        Of loops only what `streaks` show that it still does.
        """
        now = self.clock.unix_ms()
        near = (
            warning(*each)
            for scope, holder in holders_of(node)
            if self.box.remembers(scope, holder)
            for each in self.box.near(scope, holder, _counted(node, scope, now, streaks))
        )
        return [text for text in near if text is not None]

    def replace(self, fuse_id: str, *, by: str, reason: str) -> FuseRecord:
        """A named person replaces a blown fuse. Raises what `FuseBox.replace` raises."""
        now = self.clock.unix_ms()
        value = self._sum(self.box.record(fuse_id), now)
        record = self.box.replace(fuse_id, by, reason, now, value=value)
        self._remember(record)
        return record

    def restore(self, records: Iterable[SharedRecord]) -> None:
        """Put stored fuses back, the blown ones still blown."""
        self.box.restore(_fuses(records))

    def learn(self, records: Iterable[SharedRecord]) -> None:
        """Take over what other gateways wrote: blown or replaced there is blown or replaced here.

        Where both know something, what they know together is written again, so that all come to the same.
        """
        now = self.clock.unix_ms()
        for theirs in _fuses(records):
            try:
                mine = self.box.record(theirs.id)
            except FuseUnknown:
                self.box.keep(theirs)
                continue
            joined = join(mine, theirs)
            if joined.replacements > mine.replacements and mine.state == "blown":
                joined = self._rebased(joined, mine, now)
            self.box.keep(joined)
            if is_news(theirs, joined):
                self._share(joined)

    def _rebased(self, replaced: FuseRecord, mine: FuseRecord, now: int) -> FuseRecord:
        """What was counted here before the replacement was heard of does not count towards the new fuse."""
        if mine.meter in LEVEL_METERS or mine.meter in STREAK_METERS:
            return replaced
        stood = baseline_at(mine.meter, max(mine.value, self._sum(mine, now)))
        return msgspec.structs.replace(replaced, baseline=max(replaced.baseline, stood))

    def _sum(self, record: FuseRecord, now: int) -> int:
        """What the meter of a fuse stands at; 0 when it is no sum, or nobody here knows."""
        if record.meter in LEVEL_METERS or record.meter in STREAK_METERS:
            return 0
        first, _, rest = record.holder.partition("/")
        if record.scope == "run":
            counted = self.tree.run(rest)
        else:
            session = self.tree.session(first)
            counted = session.agents.get(rest) if session is not None and rest else session
        return 0 if counted is None else counted.meters(now).get(record.meter, 0)

    def _check(
        self, scope: Scope, holder: str, meters: Mapping[str, int], streaks: Streaks | None
    ) -> FuseRecord | None:
        for change in self.box.check(scope, holder, meters, self.clock.unix_ms()):
            record = change
            if streaks is not None and change.meter in STREAK_METERS:
                record = msgspec.structs.replace(change, evidence=read_evidence(streaks, change.meter))
                self.box.keep(record)
            self._remember(record)
            if record.state == "blown":
                self.telemetry.fuse_blown(scope, record.meter)
        return self.box.blown(scope, holder)

    def _remember(self, record: FuseRecord) -> None:
        self._share(record)
        self.audit.fuse(record)

    def _share(self, record: FuseRecord) -> None:
        self.store.save_record("fuse", record.id, msgspec.json.encode(record))


def holders_of(node: AgentNode) -> Iterator[tuple[Scope, str]]:
    """Whose fuses an agent stands under. Ids of runs are the client's claims, so a run is one of its credential."""
    yield "agent", node.key
    if node.run is not None:
        yield "run", f"{node.run.owner.credential}/{node.run.id}"
    yield "session", node.session.id
    yield "user", node.session.user


def meters_of(node: AgentNode, scope: Scope, now: int) -> Mapping[str, int]:
    """What is counted of the agent's holder in this scope."""
    match scope:
        case "agent":
            return node.meters(now)
        case "run":
            return node.run.meters(now) if node.run is not None else {}
        case "session":
            return node.session.meters(now)
        case "user":
            return node.session.person.meters(now)


def _counted(node: AgentNode, scope: Scope, now: int, streaks: Streaks | None) -> Mapping[str, int]:
    meters = meters_of(node, scope, now)
    return {**meters, **streaks.meters()} if scope == "agent" and streaks is not None else meters


def _may_wrap_up(node: AgentNode, blown: FuseRecord) -> bool:
    began = node.first_token and node.first_seen_ms <= blown.at_ms
    return began and len(blown.wrapped_up) < WRAP_UPS_MAX and wrap_up_mark(node.key) not in blown.wrapped_up


def _fuses(records: Iterable[SharedRecord]) -> Iterator[FuseRecord]:
    for record in records:
        if record.kind == "fuse" and record.text is not None:
            yield _decoder.decode(record.text)
