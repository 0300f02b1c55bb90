"""Signatures as botocore makes them anew of what arrived; credentials of a botocore chain, also of one that ends."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, RefreshableCredentials
from botocore.session import Session

from gateway.config import UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.upstreams.credentials import MARGIN_SECONDS, PAUSE_SECONDS, LiveCredential
from gateway.upstreams.http import AWS_PREFIX, PLAIN_BODY_BYTES_MAX, Endpoint, HttpUpstream, messages_path
from gateway.upstreams.sigv4 import CHECK, SigningPoster, aws_credential, fetch_from
from tests.gateway.upstreams.exchanges import exchange, request, signature_of
from tests.support.clock import FakeClock
from tests.support.upstream import Answer, ScriptedUpstream, json_answer

LIFE_SECONDS = 3600.0
SECRET = "wJalrXUtnFEMI/K7MDENG"
SCOPE = {"secret": SECRET, "service": "bedrock", "region": "us-east-1"}
EXPIRED = (("content-type", "application/json"), ("x-amzn-ErrorType", "ExpiredTokenException:http://internal/"))


class Role(CredentialProvider):
    """A provider in botocore's chain: session credentials `AKID1`, `AKID2`, ... that live an hour of the clock."""

    METHOD = "role"

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.given = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.unix_ms() / 1000, UTC)

    def give(self) -> dict[str, Any]:
        self.given += 1
        end = self.now() + timedelta(seconds=LIFE_SECONDS)
        keys = {"access_key": f"AKID{self.given}", "secret_key": SECRET, "token": f"session-{self.given}"}
        return {**keys, "expiry_time": end.isoformat()}

    def load(self) -> RefreshableCredentials:  # type: ignore[override]  # the base says what it returns by an example
        given = {**self.give(), "expiry_time": self.now() + timedelta(seconds=LIFE_SECONDS)}
        return RefreshableCredentials(**given, refresh_using=self.give, method="role", time_fetcher=self.now)

    def chain(self) -> Any:
        """Credentials as a botocore session finds them when this provider is its chain."""
        session = Session()
        session.register_component("credential_provider", CredentialResolver([self]))
        return session.get_credentials()

    def credential(self) -> LiveCredential[Any]:
        return LiveCredential("west", fetch_from(self.chain), check=CHECK, monotonic=self.clock.monotonic)


def signing(
    server: ScriptedUpstream, session: aiohttp.ClientSession, credential: LiveCredential[Any] | None = None
) -> HttpUpstream:
    config = UpstreamConfig(id="west", backend="aws", base_url=server.base_url)
    endpoint = Endpoint(config, session, base_url="", foreign_prefix=AWS_PREFIX)
    live = credential or aws_credential("west", lambda: Credentials("AKID", SECRET))
    poster = SigningPoster(endpoint, live, service="bedrock", region="us-east-1")
    return HttpUpstream("west", "aws", "anthropic", path_of=messages_path, poster=poster)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/v1/messages?beta=true&a=%41%2B&b",
        "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke",
        "/model/anthropic.claude-haiku-4-5-20251001-v1:0/invoke",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Ainference-profile%2Fus.anthropic.x/invoke",
    ],
)
async def test_signature_is_what_botocore_makes_of_what_arrived(
    path: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    headers = [("Content-Type", "application/json"), ("anthropic-beta", "a,  b"), ("user-agent", "x")]
    await exchange(signing(server, session), request(headers, path=path))
    received = server.received[0]
    assert received.raw_path == path
    assert received.header("authorization") == signature_of(received, server, **SCOPE)


async def test_what_a_proxy_may_touch_is_not_signed_and_what_aws_reads_is(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    names = ("content-type", "anthropic-version", "x-amzn-bedrock-trace", "user-agent", "x-stainless-os", "accept")
    await exchange(signing(server, session), request([(name, "1") for name in names]))
    shown = server.received[0].header("authorization") or ""
    signed = "SignedHeaders=anthropic-version;content-type;host;x-amz-date;x-amzn-bedrock-trace,"
    assert signed in shown
    assert server.received[0].header("x-stainless-os") == "1"


async def test_repeated_header_is_signed_as_it_arrives(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    await exchange(signing(server, session), request([("anthropic-beta", "a"), ("Anthropic-Beta", "b")]))
    received = server.received[0]
    assert [value for name, value in received.headers if name == "anthropic-beta"] == ["a", "b"]
    received.headers = [pair for pair in received.headers if pair[0] != "anthropic-beta"] + [("anthropic-beta", "a,b")]
    assert received.header("authorization") == signature_of(received, server, **SCOPE)


async def test_signature_of_the_client_is_replaced(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    theirs = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=THEIRS"),
        ("X-Amz-Date", "20200101T000000Z"),
        ("X-Amz-Security-Token", "theirs"),
        ("X-Amz-Content-Sha256", "theirs"),
    ]
    await exchange(signing(server, session), request(theirs))
    received = server.received[0]
    assert "theirs" not in str(received.headers).lower()
    assert received.header("authorization") == signature_of(received, server, **SCOPE)


async def test_body_over_a_megabyte_is_signed_whole(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    await exchange(signing(server, session), request(body=b"x" * (PLAIN_BODY_BYTES_MAX + 1)))
    received = server.received[0]
    assert len(received.body) == PLAIN_BODY_BYTES_MAX + 1
    assert received.header("authorization") == signature_of(received, server, **SCOPE)


async def test_header_that_cannot_be_signed_is_refused_without_showing_it(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(GatewayError) as failure:
        await exchange(signing(server, session), request([("anthropic-beta", "se\udce9cret")]))
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "cret" not in failure.value.message


async def test_session_token_of_the_chain_travels_and_is_signed(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    role = Role()
    server.queue(json_answer({}), json_answer({}))
    upstream = signing(server, session, role.credential())
    for _ in range(2):
        await exchange(upstream, request())
    received = server.received[1]
    assert received.header("x-amz-security-token") == "session-1"
    assert "x-amz-security-token" in (received.header("authorization") or "")
    assert received.header("authorization") == signature_of(received, server, **SCOPE)
    assert role.given == 1


async def test_many_requests_with_a_session_about_to_end_share_one_refresh() -> None:
    role = Role()
    credential = role.credential()
    assert (await credential.current()).value.access_key == "AKID1"
    role.clock.advance(LIFE_SECONDS - MARGIN_SECONDS + 1)
    leases = await asyncio.gather(*(credential.current() for _ in range(20)))
    assert {lease.value.access_key for lease in leases} == {"AKID2"}
    assert role.given == 2


def test_end_of_a_session_is_its_own_after_the_chain_has_gone_on_to_the_next() -> None:
    role = Role()
    fetch = fetch_from(role.chain)
    first = fetch(False)
    role.clock.advance(LIFE_SECONDS - MARGIN_SECONDS + 1)
    second = fetch(False)
    assert [lease.value.access_key for lease in (first, second)] == ["AKID1", "AKID2"]
    assert [lease.expires_within(MARGIN_SECONDS) for lease in (first, second)] == [True, False]


async def test_keys_that_do_not_end_are_looked_up_once() -> None:
    looked: list[Credentials] = []

    def load() -> Credentials:
        looked.append(Credentials("AKID", SECRET))
        return looked[-1]

    credential = aws_credential("west", load)
    assert [(await credential.current()).value.access_key for _ in range(3)] == ["AKID"] * 3
    assert len(looked) == 1


async def test_chain_without_credentials_says_what_to_check(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    upstream = signing(server, session, aws_credential("west", lambda: None))
    with pytest.raises(GatewayError) as failure:
        await exchange(upstream, request())
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert failure.value.message.startswith("Upstream 'west' has no usable credential (NoCredentialsError); check the")
    assert server.received == []


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(403, EXPIRED, [b'{"message":"expired"}']),
        Answer(403, (), [b'{"message":"The security token included in the request is expired"}']),
        Answer(403, (), [b'{"message":"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"}']),
    ],
)
async def test_session_that_the_cloud_says_has_ended_is_begun_anew(
    refusal: Answer, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    role = Role()
    live = role.credential()
    await live.current()
    role.clock.advance(PAUSE_SECONDS)
    server.queue(refusal, json_answer({}))
    answer, _ = await exchange(signing(server, session, live), request())
    assert answer.status == 200
    assert [received.header("x-amz-security-token") for received in server.received] == ["session-1", "session-2"]
    assert server.received[1].header("authorization") == signature_of(server.received[1], server, **SCOPE)


async def test_refusal_of_a_permission_is_passed_on(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    role = Role()
    live = role.credential()
    await live.current()
    role.clock.advance(PAUSE_SECONDS)
    server.queue(Answer(403, (("x-amzn-errortype", "AccessDeniedException"),), [b'{"message":"no"}']))
    answer, body = await exchange(signing(server, session, live), request())
    assert (answer.status, body, role.given) == (403, b'{"message":"no"}', 1)
