"""Microsoft Foundry as an upstream: its address, a key in two headers, or a bearer of azure-identity's credential."""

from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken

from gateway.config import Secret, UpstreamConfig
from gateway.errors import GatewayError
from gateway.upstreams.credentials import MARGIN_SECONDS, PAUSE_SECONDS, BearerPoster, LiveCredential
from gateway.upstreams.foundry import CHECK, build, build_endpoint, build_with, fetch_from, is_expired
from tests.gateway.upstreams.exchanges import NAMES, assert_as_recorded, exchange, recorded, request
from tests.support.clock import FakeClock
from tests.support.upstream import Answer, ScriptedUpstream, json_answer

LIFE_SECONDS = 3600


class Identity:
    """An Entra credential: as azure-identity's, it gives the same token until shortly before its end."""

    def __init__(self, azure: "Azure") -> None:
        self.azure = azure
        self.kept: AccessToken | None = None

    def get_token(self, *scopes: str) -> AccessToken:
        now = self.azure.unix_seconds()
        if self.kept is None or self.kept.expires_on <= now + MARGIN_SECONDS:
            self.azure.asked.append(scopes)
            self.kept = AccessToken(f"entra-{len(self.azure.asked)}", int(now) + LIFE_SECONDS)
        return self.kept


class Azure:
    """An upstream in Foundry with its clock and the credentials that were made for it."""

    def __init__(self, server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
        self.clock = FakeClock()
        self.asked: list[tuple[str, ...]] = []
        fetch = fetch_from(lambda: Identity(self).get_token, unix_seconds=self.unix_seconds)
        self.bearer = LiveCredential("azure", fetch, check=CHECK, monotonic=self.clock.monotonic)
        named = config(server.base_url)
        self.upstream = build_with(named, BearerPoster(build_endpoint(named, session), self.bearer, is_expired))

    def unix_seconds(self) -> float:
        return self.clock.unix_ms() / 1000


def config(base_url: str | None = None, **fields: Any) -> UpstreamConfig:
    return UpstreamConfig("azure", "foundry", base_url, **fields)


@pytest.mark.parametrize("name", NAMES)
async def test_exchange_with_a_key_is_the_one_of_the_sdk(
    name: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    upstream = build(config(server.base_url, api_key=Secret("azure-key")), session)
    recording = recorded("foundry", name)
    await assert_as_recorded(upstream, server, recording)
    for header in recording.headers:
        assert header in server.received[0].headers
    assert server.received[0].header("authorization") is None


@pytest.mark.parametrize("name", NAMES)
async def test_exchange_with_entra_differs_in_the_credential_only(
    name: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    azure = Azure(server, session)
    await assert_as_recorded(azure.upstream, server, recorded("foundry", name))
    received = server.received[0]
    assert received.header("authorization") == "Bearer entra-1"
    assert (received.header("x-api-key"), received.header("api-key")) == (None, None)
    assert azure.asked == [("https://ai.azure.com/.default",)]


async def test_bearer_is_kept_until_shortly_before_its_end(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    azure = Azure(server, session)
    server.responder = lambda _: json_answer({})
    await exchange(azure.upstream, request())
    await exchange(azure.upstream, request())
    azure.clock.advance(LIFE_SECONDS - MARGIN_SECONDS + 1)
    await exchange(azure.upstream, request())
    shown = [received.header("authorization") for received in server.received]
    assert shown == ["Bearer entra-1", "Bearer entra-1", "Bearer entra-2"]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(401, (), [b'{"error":{"code":"401","message":"Access token is missing, invalid, or has expired."}}']),
        Answer(401, (("www-authenticate", 'Bearer error="invalid_token"'),), [b""]),
    ],
)
async def test_bearer_that_azure_refuses_is_replaced_though_the_credential_still_keeps_it(
    refusal: Answer, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    azure = Azure(server, session)
    await azure.bearer.current()
    azure.clock.advance(PAUSE_SECONDS)
    server.queue(refusal, json_answer({}))
    answer, _ = await exchange(azure.upstream, request())
    assert answer.status == 200
    assert server.received[1].header("authorization") == "Bearer entra-2"


async def test_refusal_for_another_cause_is_passed_on(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    azure = Azure(server, session)
    await azure.bearer.current()
    azure.clock.advance(PAUSE_SECONDS)
    server.queue(Answer(401, (), [b"wrong audience"]))
    answer, body = await exchange(azure.upstream, request())
    assert (answer.status, body, len(azure.asked)) == (401, b"wrong audience", 1)


async def test_bearer_of_the_configuration_is_shown_alone(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    await exchange(
        build(config(server.base_url, bearer=Secret("own")), session), request([("api-key", "x"), ("x-api-key", "x")])
    )
    received = server.received[0]
    assert (received.header("authorization"), received.header("api-key")) == ("Bearer own", None)
    assert received.header("x-api-key") is None


async def test_address_is_the_resources(session: aiohttp.ClientSession) -> None:
    upstream = build(config(resource="acme", api_key=Secret("k")), session)
    url = build_endpoint(config(resource="acme"), session).url(upstream.path_of(request(path="")))
    assert str(url) == "https://acme.services.ai.azure.com/anthropic/v1/messages"
    assert (upstream.id, upstream.backend, upstream.shape) == ("azure", "foundry", "anthropic")


async def test_upstream_that_is_nowhere_says_what_to_set(session: aiohttp.ClientSession) -> None:
    with pytest.raises(GatewayError, match="'azure' .* set its resource or its base_url"):
        build(config(api_key=Secret("k")), session)
