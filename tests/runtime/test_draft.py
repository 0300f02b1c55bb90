"""A draft leaves nothing open however it ends, and says in the API's words why it could not be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from runtime.agents.asking import Dispatch
from runtime.agents.client import GatewayClient
from runtime.agents.endings import AttemptOver
from runtime.attempts import Places
from runtime.core.governor import Governor
from runtime.core.model import NullReason, Owner, RunId, RunSpec
from runtime.core.plans.card import Card
from runtime.draft.author import DraftWatch, refusal
from runtime.draft.drafting import DraftAsked, Drafter, Means, spec_of, unusable
from runtime.launch import Kind, Launch, RunError, Settings
from runtime.ports import AgentTask, Limited, Verdict
from tests.runtime.agents.scene import MODEL, FakeWorkspaces, FlatPrices
from tests.runtime.parts import Yes
from tests.support.clock import FakeClock
from tests.support.upstream import Answer, ScriptedUpstream, error_answer, stream_answer, text_block

ALICE = Owner(user="alice", credential="alice-laptop")
ASKED = DraftAsked(owner=ALICE, task="Look.", model=MODEL)
SCRIPT = "```js\nexport const meta = {name: 'a', description: 'b'}\nreturn await agent('look')\n```"


@dataclass
class Door(Yes):
    """An admission that counts what is open."""

    verdict: Verdict = Verdict(True)
    open: set[str] = field(default_factory=set[str])
    agents: list[str] = field(default_factory=list[str])

    async def decide_spawn(self, task: AgentTask) -> Verdict:
        self.agents.append(task.agent_id)
        return self.verdict

    def open_bearer(self, spec: RunSpec) -> str:
        self.open.add(spec.id)
        return "rf_of_a_draft"

    def close_bearer(self, run: RunId) -> None:
        self.open.discard(run)

    def end_agent(self, task: AgentTask) -> None:
        self.agents.remove(task.agent_id)


class NoCards:
    """Implements `Cards`: the store is away, so to speak."""

    async def card(self, launch: Launch) -> Card:
        raise RunError("unavailable", "not now")


@dataclass
class Desk:
    """A drafter, and what it could leave open."""

    drafter: Drafter
    door: Door
    upstream: ScriptedUpstream
    waits: list[float]

    def is_shut(self) -> bool:
        """No bearer and no agent is left."""
        return not self.door.open and not self.door.agents


@asynccontextmanager
async def desk(settings: Settings | None = None) -> AsyncGenerator[Desk]:
    """With one place at the upstream: whoever keeps it keeps all others out."""
    clock, door, waits = FakeClock(), Door(), list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    async with ScriptedUpstream() as upstream:
        client = GatewayClient(upstream.base_url)
        dispatch = Dispatch(
            client=client, prices=FlatPrices(), clock=clock, wait=wait, jitter=lambda: 0.0, efforts=dict[Any, Any]()
        )
        means = Means(
            cards=NoCards(),
            admission=door,
            workspaces=FakeWorkspaces(),
            places=Places(Governor(1), clock),
            dispatch=dispatch,
            settings=settings or Settings(model=MODEL),
        )
        try:
            yield Desk(Drafter(means), door, upstream, waits)
        finally:
            await client.close()


ENDINGS: dict[str, tuple[Answer, Kind]] = {
    "no_card": (stream_answer([text_block(SCRIPT)]), "unavailable"),
    "never_a_script": (stream_answer([text_block("No.")]), "draft_failed"),
    "not_permitted": (error_answer(451, "permission_error", "not for you"), "denied"),
    "no_money": (error_answer(429, "billing_error", "spent"), "over_budget"),
    "fuse": (
        error_answer(429, "rate_limit_error", "3 of 3", [("x-ringfence-reason", "fuse_blown")]),
        "limited",
    ),
    "quota": (
        error_answer(429, "rate_limit_error", "later", [("anthropic-ratelimit-unified-status", "rejected")]),
        "limited",
    ),
    "overloaded": (error_answer(529, "overloaded_error", "busy"), "unavailable"),
    "asked_wrongly": (error_answer(404, "not_found_error", "no such model"), "invalid_request"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_failed_draft_leaves_nothing_open_and_says_what_was_paid(ending: str) -> None:
    answer, kind = ENDINGS[ending]
    async with desk() as place:
        place.upstream.responder = lambda _: answer
        for _ in range(2):
            with pytest.raises(RunError) as raised:
                await place.drafter.draft(ASKED)
            assert raised.value.kind == kind and place.is_shut()
            assert raised.value.detail["usage"]["requests"] == {"no_card": 1, "never_a_script": 4}.get(ending, 0)


async def test_overloaded_upstream_is_given_up_after_a_minute() -> None:
    async with desk() as place:
        place.upstream.responder = lambda _: error_answer(529, "overloaded_error", "busy")
        with pytest.raises(RunError, match="did not answer"):
            await place.drafter.draft(ASKED)
        assert 30 < sum(place.waits) <= 60


async def test_denied_draft_leaves_nothing_open() -> None:
    async with desk() as place:
        place.door.verdict = Verdict(False, "not here")
        with pytest.raises(RunError, match="not here") as raised:
            await place.drafter.draft(ASKED)
        assert raised.value.kind == "denied" and place.is_shut() and place.upstream.received == []


async def test_cancelled_draft_leaves_nothing_open() -> None:
    async with desk() as place:
        place.upstream.responder = lambda _: Answer(never=True)
        drafting = asyncio.create_task(place.drafter.draft(ASKED))
        await place.upstream.wait_for_requests(1)
        drafting.cancel()
        await asyncio.wait([drafting])
        assert drafting.cancelled() and place.is_shut()
        place.upstream.responder = lambda _: stream_answer([text_block(SCRIPT)])
        with pytest.raises(RunError, match="not now"):
            await place.drafter.draft(ASKED)


@pytest.mark.parametrize("case", ["off", "no_model", "blank"])
async def test_draft_that_cannot_be_is_refused_before_anybody_is_asked(case: str) -> None:
    asked, settings, kind = {
        "off": (ASKED, Settings(enabled=False, model=MODEL), "disabled"),
        "no_model": (DraftAsked(owner=ALICE, task="Look."), Settings(), "invalid_request"),
        "blank": (DraftAsked(owner=ALICE, task="\n"), Settings(model=MODEL), "invalid_request"),
    }[case]
    async with desk(settings) as place:
        with pytest.raises(RunError) as raised:
            await place.drafter.draft(asked)
        assert raised.value.kind == kind and place.is_shut() and place.upstream.received == []


@pytest.mark.parametrize(
    ("null", "transient", "kind"),
    [
        ("permission", False, "denied"),
        ("stopped", False, "denied"),
        ("limit", False, "limited"),
        ("stalled", True, "unavailable"),
        ("api_error", True, "unavailable"),
        ("api_error", False, "invalid_request"),
    ],
)
def test_end_of_the_conversation_has_a_kind(null: NullReason, transient: bool, kind: Kind) -> None:
    error = refusal(AttemptOver(null, "because", transient=transient))
    assert error.kind == kind and "because" in error.message


async def test_burst_is_waited_out_and_its_place_given_to_others() -> None:
    places = Places(Governor(1), FakeClock())
    watch = DraftWatch(places, "m")
    await watch.before_request()
    await watch.limited(Limited("throttled", "slow down"))
    await places.enter("m")
    with pytest.raises(RunError) as raised:
        await watch.limited(Limited("budget", "spent"))
    assert raised.value.kind == "over_budget"


def test_draft_has_a_run_id_of_its_own_that_no_run_could_have() -> None:
    first, second = (spec_of(ASKED, Settings(), 5) for _ in range(2))
    assert first.id != second.id and first.session != second.session
    assert first.id.startswith("wf_draft-") and first.limits.retry_seconds < Settings().limits.retry_seconds


def test_unusable_draft_names_what_is_wrong_and_hands_over_what_there_is() -> None:
    error = unusable(4, "return 1", ["1:1 meta_missing: ..."])
    assert "4 tries" in error.message and "1:1 meta_missing" in error.message
    assert error.detail == {"tries": 4, "script": "return 1", "problems": ["1:1 meta_missing: ..."]}
