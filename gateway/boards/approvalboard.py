"""Approvals of the running gateway: holds a question until a person answers it, here or on another gateway.

What an answer means is `core/oversight/approvals.py`, what is remembered `approvalbook.py` there, and `scriptboard.py`.
Each word on an item goes through the store, which gives two people who decide at once one order; only the end of an
item's time holds without it. An item lives as long as the stream it holds: when its gateway falls silent it is
withdrawn by others.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.boards.scriptboard import ScriptBoard
from gateway.config.model import Approvals
from gateway.context import RequestContext
from gateway.core.decisions.decision import Action, Decision, Registration, Run, Spawn, denied
from gateway.core.decisions.exhibit import exhibit
from gateway.core.oversight.approvalbook import ApprovalBook, decode_item, encode_item
from gateway.core.oversight.approvals import (
    AlreadyDecided,
    ApprovalUnknown,
    Demand,
    Item,
    NotAllowed,
    Ruling,
    Scope,
    Unmeetable,
    Verdict,
    answered,
    binding_of,
    demand_of,
    kind_of,
    may_decide,
    record_fields,
    registry_covers,
    ruled,
    suffices,
)
from gateway.core.oversight.scripts import Approval
from gateway.errors import Refused
from gateway.ports import Clock, SharedRecord, SharedRecords
from gateway.tasks import Tasks

Change = Literal["asked", "remembered", "approved", "denied", "expired", "withdrawn", "revoked"]

FIRST_REQUEST_SECONDS_MAX = 240
"""Longest wait for an agent that has no answer's headers yet: clients were measured to wait 330 s for them."""
BEAT_SECONDS = 10.0
"""How often a gateway that holds items says that it lives."""
SILENT_SECONDS = 45.0
"""A gateway that was not heard for so long is gone, and so are the streams it held."""
OVERDUE_MS = 60_000
"""An item so long past its time is ended by whoever sees it."""
FORGOTTEN_AT_ONCE = 50
NEWS_MOMENTS = 4
NEWS_SECONDS = 0.3
"""What another gateway was told is looked for so often and in such steps: longer than news takes."""
JUST_GIVEN_MS = 60_000
JUST_GIVEN_MAX = 50
"""Approvals for one call that are looked through, the latest."""

_BEAT_PREFIX = "gateway_"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """Who hears of changes: the audit trail (`record`, as `AuditLog.record`), and whoever else (`changed`)."""

    record: Callable[[str, Mapping[str, Any]], None]
    changed: Callable[[Change, Item], None]


class Shown(NamedTuple):
    """What people are shown of an action beside itself."""

    text: str | None = None
    """The source of a run, the prompt of a spawn."""
    args: Any = None
    """What a run is given. An approval that is remembered does not bind it."""


NOTHING_MORE = Shown()


class ApprovalBoard:
    """Asks people, and remembers what they said. One per gateway, used on its event loop only."""

    def __init__(self, records: SharedRecords, settings: Approvals, heard: Heard, tasks: Tasks, clock: Clock) -> None:
        self.book = ApprovalBook()
        self.scripts = ScriptBoard(records, heard.record, clock, changed=self._cover)
        self._records = records
        self._settings = settings
        self._heard = heard
        self._tasks = tasks
        self._clock = clock
        self._name = os.urandom(8).hex()
        self._held: dict[str, asyncio.Future[Item]] = {}
        self._covering: set[str] = set()
        self._beats: dict[str, float] = {}

    async def approved(
        self, ctx: RequestContext, action: Action, decision: Decision, *, decision_id: str, shown: Shown = NOTHING_MORE
    ) -> Decision:
        """The decision without its obligation `require_approval` once somebody has approved it, else a denial.

        Returns at once when nothing is to be approved, or when it is known already.
        """
        item = self._demanded(ctx, action, decision, decision_id)
        if isinstance(item, Decision):
            return item
        known = self._known_answer(item)
        if known is not None:
            item = ruled(item, known)
            self._tell("remembered", item)
            return answered(item, decision)
        full = self.book.full(item.lineage, item.principal.user)
        if full is not None:
            message = f"it needs a person's approval ({item.reason}), and {full}; go on without it"
            return denied("approval/full", message, decision.revision)
        return await self._wait(_exhibited(item, action, shown, decision), action, decision, shown.text)

    async def remembered(
        self, ctx: RequestContext, action: Action, decision: Decision, *, decision_id: str
    ) -> Decision:
        """The same for who cannot wait for a person: nobody is asked, and what was not approved before is denied.

        What another gateway has just been told takes a moment to be known here.
        """
        item = self._demanded(ctx, action, decision, decision_id)
        if isinstance(item, Decision):
            return item
        for moments_left in reversed(range(NEWS_MOMENTS)):
            known = self._known_answer(item) or self._just_given(item)
            if known is not None:
                item = ruled(item, known)
                self._tell("remembered", item)
                return answered(item, decision)
            if moments_left:
                await asyncio.sleep(NEWS_SECONDS)
        message = (
            f"it needs a person's approval ({item.reason}), and it did not come this way that somebody could be asked; "
            "an operator can approve the same call for the session or for good when it comes through the gateway"
        )
        return denied("approval/unasked", message, decision.revision)

    def registered(self, script_sha256: str) -> Registration | None:
        """The registry's entry for a script, if it is approved."""
        return self.scripts.registered(script_sha256)

    async def decide(self, id: str, verdict: Verdict, *, by: str, scope: Scope = "once", why: str = "") -> Item:
        """A named person's word on an item.

        Raises `ApprovalUnknown`, `AlreadyDecided`, `NotAllowed`, `RegistryFull`, `Refused(STORE_UNAVAILABLE)`.
        """
        if scope != "once" and self.book.remembers_most():
            raise NotAllowed("as many approvals are remembered as there can be: revoke some, or approve it once")
        item = await self._rule(id, Ruling(self._clock.unix_ms(), verdict, by, scope, why))
        self._tell("revoked" if verdict == "revoke" else _ending(item), item)
        if verdict == "approve" and scope == "always" and item.script_sha256 is not None:
            await self.scripts.register(Approval(item.script_sha256, by, self._clock.unix_ms(), why))
        self._cover()
        return item

    def learn(self, records: Iterable[SharedRecord]) -> None:
        """Take over what other gateways wrote; who waits here for what was decided there goes on at once."""
        for record in records:
            try:
                if record.kind == "approval":
                    self._learn_approval(record.id, record.text)
                elif record.kind == "script":
                    self.scripts.learn(record.id, record.text)
            except msgspec.MsgspecError as error:
                _log.warning("%s %s of the store cannot be read and is left out: %s", record.kind, record.id, error)
        self._cover()

    async def restore(self, records: Iterable[SharedRecord], *, shared: bool) -> None:
        """Take over what the store holds. Not `shared` with other gateways: what waits was held by a dead process."""
        self.learn(records)
        if not shared:
            gone = [item.id for item in self.book.waiting()]
            await asyncio.gather(*(self._end(id, "withdraw", "the gateway was restarted") for id in gone))

    async def tidy(self) -> None:
        """About once a second: end what nobody answered in time or nobody holds any more, forget what is old."""
        now_ms, now = self._clock.unix_ms(), self._clock.monotonic()
        waiting = self.book.waiting()
        if self._held and now - self._beats.get(self._name, now - BEAT_SECONDS) >= BEAT_SECONDS:
            self._beats[self._name] = now
            self._records.save_record("approval", _BEAT_PREFIX + self._name, msgspec.json.encode({"at_ms": now_ms}))
        ending = [self._end(item.id, "expire", "") for item in waiting if self._is_overdue(item, now_ms)]
        orphans = [item for item in waiting if self._is_orphan(item, now) and not self._is_overdue(item, now_ms)]
        ending += [self._end(item.id, "withdraw", "the gateway that held it has ended") for item in orphans]
        await asyncio.gather(*ending)
        await self._forget(now_ms, now)

    def waiting(self) -> int:
        """Items that hold a stream of this gateway."""
        return len(self._held)

    def oldest_seconds(self) -> float:
        """Age of the oldest of them; 0 when there is none."""
        asked = [item.asked_at_ms for item in map(self.book.find, self._held) if item is not None]
        return max(0, self._clock.unix_ms() - min(asked)) / 1000 if asked else 0.0

    async def _wait(self, item: Item, action: Action, decision: Decision, text: str | None) -> Decision:
        future = self._held[item.id] = asyncio.get_running_loop().create_future()
        self.book.put(item)
        try:
            await self._publish(item, action, text)
            self._tell("asked", item)
            self._cover()
            return answered(await future, decision)
        except Refused as error:
            self.book.drop(item.id)
            message = f"it needs a person's approval ({item.reason}), which cannot be asked for now: {error.message}"
            return denied("approval/unavailable", message, decision.revision)
        except asyncio.CancelledError:
            self._tasks.spawn("withdraw approval", self._end(item.id, "withdraw", "the client left or was stopped"))
            raise
        finally:
            del self._held[item.id]

    async def _publish(self, item: Item, action: Action, text: str | None) -> None:
        """The script first, so that whoever sees the item can read it."""
        if isinstance(action, Run) and action.script_sha256 is not None and text is not None:
            await self.scripts.propose(action, action.script_sha256, text)
        await self._records.change_record("approval", item.id, lambda _: encode_item(item))

    def _demanded(self, ctx: RequestContext, action: Action, decision: Decision, decision_id: str) -> Item | Decision:
        """The question that the decision asks for; the decision to go by where there is none."""
        if not decision.allow or not decision.obligations:
            return decision
        try:
            demand = demand_of(decision)
        except Unmeetable as error:
            return denied("engine/obligation", str(error), decision.revision)
        return decision if demand is None else self._item(ctx, action, demand, decision_id)

    def _just_given(self, item: Item) -> Ruling | None:
        """What was approved a moment ago for this very agent, as it seems on another gateway."""
        now_ms = self._clock.unix_ms()
        for given in self.book.listed("approved", JUST_GIVEN_MAX):
            last, same = given.last, given.lineage
            recent = last is not None and last.verdict == "approve" and now_ms - last.at_ms <= JUST_GIVEN_MS
            is_agent = (same.session, same.agent) == (item.lineage.session, item.lineage.agent)
            is_call = given.holder != self._name and given.binding == item.binding is not None
            if last is not None and recent and is_agent and is_call and suffices(last.scope, last.by, item):
                return Ruling(now_ms, "approve", last.by, last.scope, last.why, given.id)
        return None

    def _item(self, ctx: RequestContext, action: Action, demand: Demand, decision_id: str) -> Item:
        assert ctx.principal is not None and ctx.lineage is not None
        now_ms = self._clock.unix_ms()
        seconds = demand.expires_seconds or self._settings.expires_seconds
        if isinstance(action, Spawn) and action.via == "first_request":
            seconds = min(seconds, FIRST_REQUEST_SECONDS_MAX)
        return Item(
            id=f"apr_{os.urandom(8).hex()}",
            kind=kind_of(action),
            title="",
            what={},
            binding=binding_of(action),
            reason=demand.reason,
            rules=(),
            principal=ctx.principal,
            lineage=ctx.lineage,
            decision=decision_id,
            asked_at_ms=now_ms,
            expires_at_ms=now_ms + seconds * 1000,
            four_eyes=demand.four_eyes or self._settings.four_eyes,
            remember=demand.remember,
            holder=self._name,
            script_sha256=action.script_sha256 if isinstance(action, Run) else None,
        )

    def _known_answer(self, item: Item) -> Ruling | None:
        """What was approved before and answers this too."""
        now_ms = self._clock.unix_ms()
        grant = self.book.covering(item)
        last = None if grant is None else grant.last
        if grant is not None and last is not None:
            return Ruling(now_ms, "approve", last.by, last.scope, last.why, grant.id)
        script = self.scripts.book.find(item.script_sha256)
        entry = None if script is None else script.registration
        if script is None or entry is None or not registry_covers(entry.by, item):
            return None
        return Ruling(now_ms, "approve", entry.by, "always", script.why, script.sha256)

    def _cover(self) -> None:
        """Decide what waits here and is answered by what was approved meanwhile."""
        for id in [id for id in self._held if id not in self._covering]:
            item = self.book.find(id)
            answer = None if item is None or item.state != "waiting" else self._known_answer(item)
            if answer is not None:
                self._covering.add(id)
                self._tasks.spawn("cover approval", self._cover_one(id, answer))

    async def _cover_one(self, id: str, answer: Ruling) -> None:
        try:
            self._tell("approved", await self._rule(id, answer))
        except (AlreadyDecided, ApprovalUnknown, Refused) as error:
            _log.warning("%s still waits, although it was approved before: %s", id, error)
        finally:
            self._covering.discard(id)

    async def _rule(self, id: str, ruling: Ruling) -> Item:
        """A word on an item, in one order for all gateways. Raises as `decide`."""
        decided: list[Item] = []

        def change(before: bytes | None) -> bytes:
            if before is None:
                raise ApprovalUnknown(f"there is no approval {id}")
            item = decode_item(before)
            decided[:] = [item]
            after = ruled(item, ruling)
            if ruling.by is not None and ruling.through is None:
                may_decide(item, ruling.verdict, ruling.by, ruling.scope)
            decided[:] = [after]
            return encode_item(after)

        try:
            await self._records.change_record("approval", id, change)
        except AlreadyDecided:
            self._take(decided[0])
            raise
        self._take(decided[0])
        return decided[0]

    async def _end(self, id: str, verdict: Literal["expire", "withdraw"], why: str) -> None:
        """Nobody said a word in time. Whoever waits here learns it also when the store is away."""
        ruling = Ruling(self._clock.unix_ms(), verdict, why=why)
        try:
            item = await self._rule(id, ruling)
        except AlreadyDecided:
            return
        except (ApprovalUnknown, Refused):
            known = self.book.find(id)
            if known is None or known.state != "waiting":
                return
            item = ruled(known, ruling)
            self._records.save_record("approval", id, encode_item(item))
            self._take(item)
        self._tell(_ending(item), item)

    def _take(self, item: Item) -> None:
        """Remember an item as it is now, and wake whoever waits for it."""
        future = self._held.get(item.id)
        if self.book.put(item) and item.state != "waiting" and future is not None and not future.done():
            future.set_result(item)

    def _learn_approval(self, id: str, text: bytes | None) -> None:
        if id.startswith(_BEAT_PREFIX):
            self._hear(id.removeprefix(_BEAT_PREFIX), gone=text is None)
            return
        if text is not None:
            item = decode_item(text)
            self._hear(item.holder, gone=False)
            self._take(item)
            return
        lost = self.book.find(id)
        if lost is not None and id in self._held and lost.state == "waiting":
            self._take(ruled(lost, Ruling(self._clock.unix_ms(), "withdraw", why="its record was removed")))
        self.book.drop(id)

    def _hear(self, gateway: str, *, gone: bool) -> None:
        if gateway == self._name:
            return
        if gone:
            self._beats.pop(gateway, None)
        else:
            self._beats[gateway] = self._clock.monotonic()

    def _is_overdue(self, item: Item, now_ms: int) -> bool:
        return now_ms >= item.expires_at_ms + (0 if item.id in self._held else OVERDUE_MS)

    def _is_orphan(self, item: Item, now: float) -> bool:
        """It waits, and whoever held it was not heard for long."""
        if item.id in self._held:
            return False
        return item.holder == self._name or now - self._beats.setdefault(item.holder, now) > SILENT_SECONDS

    async def _forget(self, now_ms: int, now: float) -> None:
        """Remove what is not needed any more, a little at a time. Harmless when another gateway does the same."""
        busy = {item.holder for item in self.book.waiting()}
        silent = [each for each, at in self._beats.items() if each not in busy and now - at > SILENT_SECONDS]
        try:
            for id in self.book.surplus(now_ms)[:FORGOTTEN_AT_ONCE]:
                await self._records.change_record("approval", id, _nothing)
                self.book.drop(id)
            await self.scripts.forget()
            for gateway in silent:
                await self._records.change_record("approval", _BEAT_PREFIX + gateway, _nothing)
                self._beats.pop(gateway, None)
        except Refused as error:
            _log.warning("old approvals are kept for now: %s", error.message)

    def _tell(self, change: Change, item: Item) -> None:
        self._heard.record("approval", record_fields(item, change))
        self._heard.changed(change, item)


def _exhibited(item: Item, action: Action, more: Shown, decision: Decision) -> Item:
    shown = exhibit(action, more.text, more.args)
    rules = tuple(reason.rule for reason in decision.reasons)
    item = msgspec.structs.replace(item, title=shown.title, what=shown.what, rules=rules)
    return decode_item(encode_item(item))  # as every other gateway will see it


def _ending(item: Item) -> Change:
    assert item.state != "waiting"
    return item.state


def _nothing(_: bytes | None) -> None:
    return None
