"""The Claude API as an upstream: whose path, which credential."""

import aiohttp

from gateway.config import Secret, UpstreamConfig
from gateway.upstreams.anthropic import DEFAULT_BASE_URL, build
from tests.gateway.upstreams.exchanges import exchange, request
from tests.support.upstream import ScriptedUpstream, json_answer


def config(base_url: str, **fields: object) -> UpstreamConfig:
    return UpstreamConfig(id="claude", backend="anthropic", base_url=base_url, **fields)  # type: ignore[arg-type]


async def test_upstream_without_address_is_the_claude_api(session: aiohttp.ClientSession) -> None:
    upstream = build(UpstreamConfig(id="claude", backend="anthropic"), session)
    assert (upstream.id, upstream.backend, upstream.shape) == ("claude", "anthropic", "anthropic")
    assert DEFAULT_BASE_URL == "https://api.anthropic.com"


async def test_path_of_the_client_is_kept_and_made_when_its_dialect_has_none(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(*(json_answer({}) for _ in range(3)))
    upstream = build(config(server.base_url), session)
    await exchange(upstream, request(path="/v1/messages?beta=true"))
    await exchange(upstream, request(path=""))
    await exchange(upstream, request(path="", operation="count_tokens"))
    paths = [received.raw_path for received in server.received]
    assert paths == ["/v1/messages?beta=true", "/v1/messages", "/v1/messages/count_tokens"]


async def test_client_credential_is_replaced_by_the_upstreams_own(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}), json_answer({}), json_answer({}))
    shown = [("X-Api-Key", "client"), ("authorization", "Bearer client"), ("Cookie", "a=b")]
    for fields in ({"api_key": Secret("own")}, {"bearer": Secret("own")}, {}):
        await exchange(build(config(server.base_url, **fields), session), request(headers=shown))
    first, second, third = server.received
    assert (first.header("x-api-key"), first.header("authorization")) == ("own", None)
    assert (second.header("x-api-key"), second.header("authorization")) == (None, "Bearer own")
    assert (third.header("x-api-key"), third.header("authorization"), third.header("cookie")) == (None, None, None)
