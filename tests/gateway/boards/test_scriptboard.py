"""The registry of scripts on one gateway, and on two that share a store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.boards.scriptboard import FORGOTTEN_AT_ONCE, SCRIPT_CHARS_MAX, ScriptBoard
from gateway.core.decisions.decision import Run, ScriptProfile
from gateway.core.money.limits import Limits
from gateway.core.oversight.scripts import OTHERS_KEPT_MAX, Approval, RegistryFull, Script, ScriptUnknown, encode_script
from gateway.stores.memory import MemoryStore
from tests.support.clock import FakeClock

DIGEST = "ab" * 32
PROFILE = ScriptProfile(valid=True, name="sweep")
RUN = Run(name="sweep", script_sha256=DIGEST, profile=PROFILE, args_bytes=0, source="claude-code", resume_of=None)


@dataclass
class Bench:
    """A board with its store; `trail` is what the audit trail would hold, `changes` how often waiters were woken."""

    store: MemoryStore = field(default_factory=lambda: MemoryStore(Limits()))
    clock: FakeClock = field(default_factory=FakeClock)
    trail: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list[tuple[str, Mapping[str, Any]]])
    changes: int = 0

    def __post_init__(self) -> None:
        self.board = ScriptBoard(
            self.store, lambda event, fields: self.trail.append((event, fields)), self.clock, changed=self._change
        )

    def _change(self) -> None:
        self.changes += 1

    def approval(self, digest: str = DIGEST) -> Approval:
        return Approval(digest, "olga", self.clock.unix_ms(), "read it")


async def kept(store: MemoryStore) -> list[str]:
    return [record.id for record in await store.load_records()]


async def test_proposed_script_is_kept_to_be_read_and_not_registered() -> None:
    bench = Bench()
    await bench.board.propose(RUN, DIGEST, "agent('x')")
    script = bench.board.book.find(DIGEST)
    assert script is not None and (script.state, script.text, script.name) == ("proposed", "agent('x')", "sweep")
    assert bench.board.registered(DIGEST) is None
    assert (bench.trail, bench.changes) == ([], 0)


async def test_registered_script_is_recorded_without_its_source_and_wakes_who_waits() -> None:
    bench = Bench()
    await bench.board.propose(RUN, DIGEST, "agent('x')")
    await bench.board.register(bench.approval())
    entry = bench.board.registered(DIGEST)
    assert entry is not None and (entry.name, entry.by) == ("sweep", "olga")
    ((event, fields),) = bench.trail
    assert (event, fields["state"], fields["why"], fields["text"]) == ("script", "approved", "read it", None)
    assert bench.changes == 1


async def test_revoked_script_is_registered_no_more() -> None:
    bench = Bench()
    await bench.board.register(bench.approval())
    revoked = await bench.board.revoke(DIGEST, by="omar", why="superseded")
    assert (revoked.state, revoked.by, revoked.why) == ("revoked", "omar", "superseded")
    assert bench.board.registered(DIGEST) is None
    with pytest.raises(ScriptUnknown):
        await bench.board.revoke(DIGEST, by="omar", why="again")
    assert [fields["state"] for _, fields in bench.trail] == ["approved", "revoked"]


async def test_source_too_long_to_be_read_is_proposed_without_it() -> None:
    bench = Bench()
    await bench.board.propose(RUN, DIGEST, "x" * (SCRIPT_CHARS_MAX + 1))
    script = bench.board.book.find(DIGEST)
    assert script is not None and script.text is None and script.profile == RUN.profile


async def test_source_with_a_lone_surrogate_can_still_be_kept() -> None:
    bench = Bench()
    await bench.board.propose(RUN, DIGEST, "agent('\ud800')")
    script = bench.board.book.find(DIGEST)
    assert script is not None and script.text == "agent('?')"
    assert await kept(bench.store) == [DIGEST]


async def test_other_gateway_decides_upon_what_was_proposed_here() -> None:
    here = Bench()
    there = Bench(here.store, here.clock)
    await here.board.propose(RUN, DIGEST, "agent('x')")
    approved = await there.board.register(there.approval())
    assert (approved.name, approved.text) == ("sweep", "agent('x')")
    assert here.board.registered(DIGEST) is None
    here.board.learn(DIGEST, encode_script(approved))
    entry = here.board.registered(DIGEST)
    assert entry is not None and entry.by == "olga"
    here.board.learn(DIGEST, None)
    assert here.board.book.find(DIGEST) is None


async def test_full_registry_takes_no_further_script_and_keeps_none() -> None:
    bench = Bench()
    for number in range(1_000):
        bench.board.book.put(Script(f"{number:064x}", "approved", 1, by="olga"))
    with pytest.raises(RegistryFull, match="revoke some first"):
        await bench.board.register(bench.approval())
    assert await kept(bench.store) == [] and bench.trail == []


async def test_surplus_is_removed_from_the_store_a_little_at_a_time() -> None:
    bench = Bench()
    for number in range(OTHERS_KEPT_MAX + FORGOTTEN_AT_ONCE + 1):
        bench.clock.advance(1)
        await bench.board.propose(RUN, f"{number:064x}", "agent('x')")
    await bench.board.forget()
    assert len(await kept(bench.store)) == OTHERS_KEPT_MAX + 1
    await bench.board.forget()
    left = await kept(bench.store)
    assert len(left) == OTHERS_KEPT_MAX and f"{0:064x}" not in left and bench.board.book.find(f"{0:064x}") is None
