"""Claude Platform on AWS as an upstream: the Claude API's paths, a workspace, a key or a signature."""

import aiohttp
import pytest
from botocore.credentials import Credentials

from gateway.config import Secret, UpstreamConfig
from gateway.upstreams.aws import SERVICE, build, build_endpoint, build_with
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.sigv4 import SigningPoster, aws_credential
from tests.gateway.upstreams.exchanges import NAMES, assert_as_recorded, exchange, recorded, request, signature_of
from tests.support.upstream import ScriptedUpstream, json_answer

SECRET = "wJalrXUtnFEMI/K7MDENG"
REGION = "us-west-2"
WORKSPACE = "wrkspc_01Golden"


def config(base_url: str | None = None, **fields: object) -> UpstreamConfig:
    return UpstreamConfig("plat", "aws", base_url, region=REGION, workspace=WORKSPACE, **fields)  # type: ignore[arg-type]


def signing(server: ScriptedUpstream, session: aiohttp.ClientSession) -> HttpUpstream:
    named = config(server.base_url)
    credential = aws_credential("plat", lambda: Credentials("AKID", SECRET))
    poster = SigningPoster(build_endpoint(named, session), credential, service=SERVICE, region=REGION)
    return build_with(named, poster)


@pytest.mark.parametrize("name", NAMES)
async def test_signed_exchange_is_the_one_of_the_sdk(
    name: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    await assert_as_recorded(signing(server, session), server, recorded("aws", name))
    received = server.received[0]
    service = "aws-external-anthropic"
    assert received.header("authorization") == signature_of(
        received, server, secret=SECRET, service=service, region=REGION
    )
    assert received.header("anthropic-workspace-id") == WORKSPACE


async def test_key_is_shown_and_nothing_is_signed(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    upstream = build(config(server.base_url, api_key=Secret("plat-key")), session)
    await exchange(upstream, request([("x-api-key", "theirs"), ("x-amz-date", "20200101T000000Z")]))
    received = server.received[0]
    assert (received.header("x-api-key"), received.header("authorization")) == ("plat-key", None)
    assert received.header("x-amz-date") is None
    assert received.raw_path == "/v1/messages?beta=true"


async def test_workspace_is_ours_and_not_the_clients(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    await exchange(signing(server, session), request([("Anthropic-Workspace-Id", "wrkspc_theirs")]))
    sent = [value for name, value in server.received[0].headers if name == "anthropic-workspace-id"]
    assert sent == [WORKSPACE]
    assert "anthropic-workspace-id" in (server.received[0].header("authorization") or "")


async def test_address_is_the_regions(session: aiohttp.ClientSession) -> None:
    url = build_endpoint(config(), session).url("/v1/messages")
    assert str(url) == "https://aws-external-anthropic.us-west-2.api.aws/v1/messages"


async def test_upstream_is_of_the_anthropic_shape(session: aiohttp.ClientSession) -> None:
    upstream = build(config(api_key=Secret("k")), session)
    assert (upstream.id, upstream.backend, upstream.shape) == ("plat", "aws", "anthropic")
