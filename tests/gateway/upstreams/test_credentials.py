"""A credential that ends: who waits for the next one, who shares it, and what happens when there is none."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import aiohttp
import pytest

from gateway.config import UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.upstreams.credentials import (
    AHEAD_SECONDS,
    MARGIN_SECONDS,
    PAUSE_SECONDS,
    BearerPoster,
    Lease,
    LiveCredential,
    expires_at,
)
from gateway.upstreams.http import Endpoint, HttpAnswer, HttpUpstream, messages_path
from tests.gateway.upstreams.exchanges import exchange, request
from tests.support.clock import FakeClock
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer

LIFE_SECONDS = 3600.0


class Issuer:
    """Gives `bearer-1`, `bearer-2`, ... that live for an hour of the test's clock; fails while `broken`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.renewals: list[bool] = []
        self.broken = False
        self.gate: threading.Event | None = None
        self.asked = threading.Event()

    def fetch(self, renew: bool) -> Lease[str]:
        self.renewals.append(renew)
        self.asked.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.broken:
            raise PermissionError("account 111122223333 has no role arn:aws:iam::111122223333:role/secret")
        end = self.clock.monotonic() + LIFE_SECONDS
        return Lease(f"bearer-{len(self.renewals)}", expires_at(end, self.clock.monotonic))

    def credential(self) -> LiveCredential[str]:
        return LiveCredential("west", self.fetch, check="its role", monotonic=self.clock.monotonic)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> Issuer:
    return Issuer(clock)


async def shown(credential: LiveCredential[str]) -> str | None:
    with contextlib.suppress(GatewayError):
        return (await credential.current()).value
    return None


async def landed(issuer: Issuer, count: int, credential: LiveCredential[str], value: str) -> None:
    """Return once the fetch in the background has brought `value`."""
    async with asyncio.timeout(30):
        while await shown(credential) != value:
            await asyncio.sleep(0)
    assert len(issuer.renewals) == count


async def test_credential_is_fetched_once_and_kept(issuer: Issuer) -> None:
    credential = issuer.credential()
    leases = [await credential.current() for _ in range(3)]
    assert [lease.value for lease in leases] == ["bearer-1"] * 3
    assert issuer.renewals == [False]


async def test_hundred_requests_at_once_share_the_first_fetch(issuer: Issuer) -> None:
    credential = issuer.credential()
    leases = await asyncio.gather(*(credential.current() for _ in range(100)))
    assert {lease.value for lease in leases} == {"bearer-1"}
    assert issuer.renewals == [False]


async def test_credential_about_to_end_is_used_while_the_next_is_fetched(issuer: Issuer, clock: FakeClock) -> None:
    credential = issuer.credential()
    await credential.current()
    clock.advance(LIFE_SECONDS - AHEAD_SECONDS - 1)
    assert (await credential.current()).value == "bearer-1"
    assert issuer.renewals == [False]
    clock.advance(2)
    issuer.gate = threading.Event()
    assert [(await credential.current()).value for _ in range(5)] == ["bearer-1"] * 5
    issuer.gate.set()
    await landed(issuer, 2, credential, "bearer-2")


async def test_credential_that_has_ended_is_waited_for(issuer: Issuer, clock: FakeClock) -> None:
    credential = issuer.credential()
    await credential.current()
    clock.advance(LIFE_SECONDS - MARGIN_SECONDS + 1)
    assert (await credential.current()).value == "bearer-2"
    assert issuer.renewals == [False, False]


async def test_fetch_ahead_that_fails_leaves_the_old_one_in_use(issuer: Issuer, clock: FakeClock) -> None:
    credential = issuer.credential()
    await credential.current()
    issuer.broken = True
    issuer.asked.clear()
    clock.advance(LIFE_SECONDS - AHEAD_SECONDS + 1)
    assert (await credential.current()).value == "bearer-1"
    assert await asyncio.to_thread(issuer.asked.wait, 10)
    assert (await credential.current()).value == "bearer-1"


async def test_failed_fetch_is_one_for_all_who_wait_and_tells_no_more_than_its_kind(issuer: Issuer) -> None:
    issuer.broken = True
    credential = issuer.credential()
    outcomes = await asyncio.gather(*(credential.current() for _ in range(20)), return_exceptions=True)
    assert issuer.renewals == [False]
    for outcome in outcomes:
        assert isinstance(outcome, GatewayError)
        assert outcome.reason is Reason.UPSTREAM_UNREACHABLE
        assert outcome.message == "Upstream 'west' has no usable credential (PermissionError); check its role."


async def test_failure_holds_for_a_pause_then_one_more_fetch_is_made(issuer: Issuer, clock: FakeClock) -> None:
    issuer.broken = True
    credential = issuer.credential()
    for _ in range(3):
        with pytest.raises(GatewayError, match="PermissionError"):
            await credential.current()
    assert len(issuer.renewals) == 1
    issuer.broken = False
    clock.advance(PAUSE_SECONDS)
    leases = await asyncio.gather(*(credential.current() for _ in range(20)))
    assert {lease.value for lease in leases} == {"bearer-2"}
    assert len(issuer.renewals) == 2


async def test_fetch_that_hangs_is_waited_for_no_longer_and_not_begun_twice(issuer: Issuer) -> None:
    issuer.gate = threading.Event()
    credential = LiveCredential("west", issuer.fetch, check="its role", fetch_seconds_max=0.01)
    for _ in range(2):
        with pytest.raises(GatewayError, match=r"no usable credential \(none came in 0.01 s\); check its role"):
            await credential.current()
    issuer.gate.set()
    await landed(issuer, 1, credential, "bearer-1")


def test_credential_is_not_shown_by_its_lease(issuer: Issuer) -> None:
    assert "bearer-1" not in repr(issuer.fetch(False))


async def test_client_that_leaves_takes_the_fetch_from_nobody(issuer: Issuer) -> None:
    issuer.gate = threading.Event()
    credential = issuer.credential()
    leaving = asyncio.ensure_future(credential.current())
    staying = asyncio.ensure_future(credential.current())
    assert await asyncio.to_thread(issuer.asked.wait, 10)
    leaving.cancel()
    await asyncio.wait((leaving,))
    issuer.gate.set()
    assert (await staying).value == "bearer-1"
    assert leaving.cancelled()


async def test_refused_credential_is_renewed_once_however_many_were_refused(issuer: Issuer, clock: FakeClock) -> None:
    credential = issuer.credential()
    refused = await credential.current()
    clock.advance(PAUSE_SECONDS)
    later = await asyncio.gather(*(credential.renewed(refused) for _ in range(20)))
    assert {lease.value for lease in later if lease} == {"bearer-2"}
    assert issuer.renewals == [False, True]
    late = await credential.renewed(refused)
    assert late is not None and late.value == "bearer-2"


async def test_credential_refused_right_after_its_fetch_is_not_renewed(issuer: Issuer, clock: FakeClock) -> None:
    credential = issuer.credential()
    refused = await credential.current()
    clock.advance(PAUSE_SECONDS - 1)
    assert await credential.renewed(refused) is None
    assert issuer.renewals == [False]


def bearer_upstream(server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer) -> HttpUpstream:
    config = UpstreamConfig(id="west", backend="vertex", base_url=server.base_url)
    poster = BearerPoster(Endpoint(config, session, base_url=""), issuer.credential(), says_expired)
    return HttpUpstream("west", "vertex", "anthropic", path_of=messages_path, poster=poster)


def says_expired(_answer: HttpAnswer, body: bytes) -> bool:
    return b"expired" in body


def accept_only(bearer: Callable[[], str]) -> Callable[[Received], Answer]:
    def answer(received: Received) -> Answer:
        if received.header("authorization") == f"Bearer {bearer()}":
            return json_answer({"ok": True})
        return Answer(401, (), [b"token ", b"expired"])

    return answer


async def test_request_refused_as_expired_is_sent_once_more_with_a_new_bearer(
    server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer, clock: FakeClock
) -> None:
    upstream = bearer_upstream(server, session, issuer)
    server.responder = accept_only(lambda: f"bearer-{len(issuer.renewals)}")
    await exchange(upstream, request())
    clock.advance(PAUSE_SECONDS)
    server.responder = accept_only(lambda: "bearer-2")
    answer, body = await exchange(upstream, request([("anthropic-beta", "a")]))
    assert (answer.status, body) == (200, b'{"ok": true}')
    _, refused, again = server.received
    assert (refused.header("authorization"), again.header("authorization")) == ("Bearer bearer-1", "Bearer bearer-2")
    assert (refused.body, refused.raw_path, refused.header("anthropic-beta")) == (again.body, again.raw_path, "a")


async def test_many_requests_refused_at_once_share_one_renewal(
    server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer, clock: FakeClock
) -> None:
    upstream = bearer_upstream(server, session, issuer)
    server.responder = accept_only(lambda: "bearer-1")
    await exchange(upstream, request())
    clock.advance(PAUSE_SECONDS)
    server.responder = accept_only(lambda: "bearer-2")
    answers = await asyncio.gather(*(exchange(upstream, request()) for _ in range(25)))
    assert {answer.status for answer, _ in answers} == {200}
    assert issuer.renewals == [False, True]


async def test_refusal_after_a_renewal_is_passed_on_whole(
    server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer, clock: FakeClock
) -> None:
    upstream = bearer_upstream(server, session, issuer)
    server.responder = accept_only(lambda: "none of ours")
    answer, body = await exchange(upstream, request())
    assert (answer.status, body, len(server.received)) == (401, b"token expired", 1)
    clock.advance(PAUSE_SECONDS)
    answer, body = await exchange(upstream, request())
    assert (answer.status, body, len(server.received)) == (401, b"token expired", 3)
    assert issuer.renewals == [False, True]


async def test_refusal_for_another_cause_is_passed_on_and_renews_nothing(
    server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer, clock: FakeClock
) -> None:
    upstream = bearer_upstream(server, session, issuer)
    server.queue(json_answer({}), Answer(403, (), [b"no permission"]))
    await exchange(upstream, request())
    clock.advance(PAUSE_SECONDS)
    answer, body = await exchange(upstream, request())
    assert (answer.status, body) == (403, b"no permission")
    assert issuer.renewals == [False]


async def test_renewal_that_fails_ends_the_request_as_unreachable(
    server: ScriptedUpstream, session: aiohttp.ClientSession, issuer: Issuer, clock: FakeClock
) -> None:
    upstream = bearer_upstream(server, session, issuer)
    server.responder = accept_only(lambda: "bearer-1")
    await exchange(upstream, request())
    clock.advance(PAUSE_SECONDS)
    issuer.broken = True
    server.responder = accept_only(lambda: "bearer-2")
    with pytest.raises(GatewayError) as failure:
        await exchange(upstream, request())
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "111122223333" not in failure.value.message
